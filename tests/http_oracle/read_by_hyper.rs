//! HTTP/1.1 bytes as hyper reads them, as a server and as a client.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};

use crate::memory::{Memory, run_until_stuck};
use crate::message::{Field, Message, Reading, sorted};

pub(crate) fn fields(map: &HeaderMap) -> Vec<Field> {
    sorted(map.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec())).collect())
}

/// Appends a body's frames to a message, until it ends, breaks, or no more comes.
async fn read_body(messages: &RefCell<Vec<Message>>, at: usize, mut body: Incoming) {
    loop {
        match body.frame().await {
            None => {
                messages.borrow_mut()[at].is_whole = true;
                return;
            }
            Some(Err(_)) => return,
            Some(Ok(frame)) => {
                let message = &mut messages.borrow_mut()[at];
                match frame.into_data() {
                    Ok(data) => message.body.extend_from_slice(&data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            message.trailers = fields(&trailers);
                        }
                    }
                }
            }
        }
    }
}

/// The target of a request line, as far as a parsed URI still tells it.
fn target(uri: &Uri) -> Vec<u8> {
    match (uri.scheme_str(), uri.authority(), uri.path_and_query()) {
        (Some(scheme), Some(authority), path) => {
            format!("{scheme}://{authority}{}", path.map_or("", |path| path.as_str())).into_bytes()
        }
        (None, Some(authority), _) => authority.as_str().into(),
        (_, None, path) => path.map_or("", |path| path.as_str()).into(),
    }
}

/// Reads a connection's requests, at most `piece` bytes at a time.
pub(crate) fn requests(input: &[u8], piece: usize) -> Vec<Message> {
    let messages = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let messages = Rc::clone(&messages);
        async move {
            let (head, body) = request.into_parts();
            let start = [head.method.as_str().as_bytes(), b" ", &target(&head.uri)].concat();
            let at = messages.borrow().len();
            messages.borrow_mut().push(Message {
                start,
                fields: fields(&head.headers),
                ..Message::default()
            });
            read_body(&messages, at, body).await;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let mut connection = builder
        .half_close(true)
        .max_buf_size(128 * 1024)
        .serve_connection(Memory::that_sends(input, piece), service);
    // an error is a refusal: what was read until then counts
    let _ = run_until_stuck(&mut connection);
    drop(connection);
    messages.take()
}

/// Reads the answer to one request with this method, at most `piece` bytes at a time.
pub(crate) fn response(input: &[u8], method: &str, piece: usize) -> Reading {
    let messages = RefCell::new(Vec::new());
    let exchange = async {
        let memory = Memory::that_answers(input, piece);
        let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(memory).await else {
            return;
        };
        let request = Request::builder()
            .method(method)
            .uri("/")
            .header("host", "h")
            .body(Empty::<Bytes>::new())
            .expect("the request is well-formed");
        let answer = async {
            let Ok(response) = sender.send_request(request).await else { return };
            let (head, body) = response.into_parts();
            let start = head.status.as_str().into();
            let had_end = body.is_end_stream();
            messages.borrow_mut().push(Message {
                start,
                fields: fields(&head.headers),
                ..Message::default()
            });
            messages.borrow_mut()[0].is_whole = had_end;
            read_body(&messages, 0, body).await;
        };
        let (mut connection, mut answer) = (pin!(connection), pin!(answer));
        let mut connection_ended = false;
        poll_fn(|cx| {
            if !connection_ended {
                connection_ended = connection.as_mut().poll(cx).is_ready();
            }
            if answer.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    };
    let mut exchange: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(exchange);
    run_until_stuck(&mut exchange);
    drop(exchange);
    Reading { messages: messages.take(), refused: None }
}
