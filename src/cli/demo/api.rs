//! The sample API that the demo puts behind the gateway: it tells what it received, streams events and echoes
//! WebSocket messages. It asks for no key: that is the gateway's work.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::websocket;

/// What is read of a request's body.
const BODY_BYTES: usize = 1024 * 1024;

/// Between two events of a stream.
const EVENT_PAUSE: Duration = Duration::from_millis(500);

type Answer = Response<Either<Full<Bytes>, Events>>;

/// Listens on a free port of this machine and serves until the runtime ends.
pub(super) async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // out of descriptors: give those that are open time to end
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            tokio::spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .with_upgrades();
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the sample API ended early");
                }
            });
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    Ok(match segments[..] {
        ["healthz"] => document(StatusCode::OK, &json!({ "status": "ok" })),
        ["v2-beta"] => document(
            StatusCode::OK,
            &json!({ "type": "apiVersion", "id": "v2-beta", "links": { "projects": "/v2-beta/projects" } }),
        ),
        ["v2-beta", "projects", _, "events"] => events(request.uri().query()),
        ["v2-beta", "projects", project, "subscribe"] => subscribe(request, project),
        ["v2-beta", ..] => echo(request).await,
        _ => document(StatusCode::NOT_FOUND, &json!({ "message": "the sample API has no such path" })),
    })
}

fn document(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(format!("{body:#}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Tells what arrived, so that one sees what the gateway adds and takes away.
async fn echo(request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES).collect().await else {
        return document(
            StatusCode::PAYLOAD_TOO_LARGE,
            &json!({ "message": "the sample API reads 1 MiB at most" }),
        );
    };
    let body = body.to_bytes();
    document(
        StatusCode::OK,
        &json!({
            "method": head.method.as_str(),
            "path": head.uri.path(),
            "query": head.uri.query(),
            "headers": headers(&head.headers),
            "body": String::from_utf8_lossy(&body),
        }),
    )
}

fn headers(headers: &HeaderMap) -> Value {
    let line = |(name, value): (&http::HeaderName, &HeaderValue)| {
        json!(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
    };
    headers.iter().map(line).collect()
}

/// A stream of server-sent events, endless or as many as `count=` says.
fn events(query: Option<&str>) -> Answer {
    let count = query.and_then(|query| query.strip_prefix("count=")).and_then(|count| count.parse().ok());
    let mut ticks = interval(EVENT_PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answer = Response::new(Either::Right(Events { ticks, sent: 0, count }));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer
}

/// The body of an event stream.
struct Events {
    ticks: Interval,
    sent: u64,
    count: Option<u64>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.count == Some(self.sent) {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(context));
        self.sent += 1;
        let event = format!("id: {0}\ndata: this is event {0}\n\n", self.sent);
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}

/// Becomes a WebSocket that greets and then echoes; with `?once` it says goodbye after the greeting.
fn subscribe(request: Request<Incoming>, project: &str) -> Answer {
    let Some(accept) = websocket::accept_key(request.headers()) else {
        return document(StatusCode::UPGRADE_REQUIRED, &json!({ "message": "this path speaks WebSocket" }));
    };
    let greeting = format!("hello from {project}");
    let once = request.uri().query() == Some("once");
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let outcome = match upgrade.await {
            Ok(stream) => websocket::serve(TokioIo::new(stream), &greeting, once).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a WebSocket of the sample API ended early");
        }
    });
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    answer
}
