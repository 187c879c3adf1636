//! A conversation with the h2 crate's server, in memory.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};

use super::conversation::Conversation;
use super::{Log, Outcome, with_one_cookie};
use crate::memory::{Memory, run_until_stuck};
use crate::read_by_hyper::fields;

type Task = Pin<Box<dyn Future<Output = ()>>>;

pub(super) fn serve(conversation: &Conversation) -> Outcome {
    let (memory, log) = (Memory::open(), Log::default());
    let mut serving: Task = Box::pin(accept(memory.clone(), log.clone()));
    let mut ended_at = usize::MAX;
    for (at, step) in conversation.steps.iter().enumerate() {
        log.step.set(at);
        // byte by byte: an error in a frame hides the requests before it that nobody has taken yet
        let is_over = step.iter().any(|&byte| {
            memory.push(&[byte]);
            run_until_stuck(&mut serving).is_some()
        });
        if is_over {
            ended_at = at;
            break;
        }
    }
    drop(serving);
    Outcome { requests: log.requests.take(), ended_at }
}

/// Serves the connection until it is given up.
async fn accept(memory: Memory, log: Log) {
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(64 * 1024).enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(memory).await else { return };
    let mut tasks: Vec<Task> = Vec::new();
    poll_fn(|cx| {
        loop {
            let accepted = connection.poll_accept(cx);
            tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            match accepted {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    tasks.push(Box::pin(receive(request, respond, log.clone())));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

async fn receive(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, log: Log) {
    let (head, mut body) = request.into_parts();
    let method = head.method.as_str().as_bytes();
    let authority = head.uri.authority().map_or(&b""[..], |authority| authority.as_str().as_bytes());
    let path = head.uri.path_and_query().map_or(&b""[..], |path| path.as_str().as_bytes());
    let start = [method, b" ", authority, b" ", path].concat();
    let number = log.begin(start, with_one_cookie(fields(&head.headers)));
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return };
        log.update(number, |message| message.body.extend_from_slice(&data));
        let _ = body.flow_control().release_capacity(data.len());
    }
    let Ok(trailers) = body.trailers().await else { return };
    log.update(number, |message| {
        message.trailers = with_one_cookie(trailers.as_ref().map(fields).unwrap_or_default());
        message.is_whole = true;
    });
    let _ = respond.send_response(Response::new(()), true);
}
