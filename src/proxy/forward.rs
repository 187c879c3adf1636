//! The fifth step: the request to the upstream and the response back, until they end or something comes between.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::decide::Permitted;
use super::exchange::{Exchange, ExchangeEnd, ExchangeProgress, WaitingFor};
use super::open_streams::Interrupt;
use super::refusal::Refusal;
use super::request_context::RequestContext;
use super::route::RoutedPaths;
use crate::model::ClientSource;
use crate::upstream::{Failure, Pool, Requester};
use crate::wire::{BodyLength, HeadLimits, Peer};

/// How long a WebSocket may take to end its last frame and to answer the Close when the gateway stops.
const WEBSOCKET_CLOSE_TIME: Duration = Duration::from_millis(700);

impl RequestContext<'_> {
    /// Forwards a request. `keep_alive`: whether the client's connection may stay open after it.
    pub(super) async fn forward(
        &self,
        permitted: &Permitted<'_>,
        paths: &RoutedPaths<'_>,
        pool: &Rc<Pool>,
        keep_alive: bool,
        progress: &ExchangeProgress,
        client: &mut Peer,
    ) -> ExchangeEnd {
        let admitted = permitted.admitted;
        let snapshot = &self.active_config.snapshot;
        let body_limit = paths.routed.route.body_bytes.unwrap_or(snapshot.limits.body_bytes);
        if let BodyLength::Exact(length) = admitted.body
            && length > body_limit
        {
            return ExchangeEnd::Refused(Refusal::BodyTooLarge);
        }
        let exchange = Exchange {
            permitted,
            pool,
            requester: Requester {
                key: permitted.identity.map(|identity| identity.principal.key.id),
                source: ClientSource::of(self.source(admitted.head)),
            },
            stream: self.stream,
            progress,
            metrics: &self.worker.metrics,
            route_counts: &self.active_config.route_counts[paths.routed.index],
            pipe_pool: &self.worker.pipe_pool,
            arrived: self.arrived,
            expiry_notice: snapshot.expiry_notice,
            timeouts: &snapshot.timeouts,
            response_limits: HeadLimits {
                header_bytes: snapshot.limits.response_header_bytes,
                header_count: snapshot.limits.header_count * 2,
                line_bytes: snapshot.limits.uri_bytes,
            },
            max_informational: snapshot.limits.informational_responses,
            body_limit,
            keep_alive,
            worker: self.worker,
            in_flight: RefCell::default(),
            failed_at: RefCell::default(),
        };
        let end = self.until_interrupted(&exchange, paths, client).await;
        if !matches!(end, ExchangeEnd::DecideAgain) {
            // nothing of it goes on: a change need not wait until the client has taken its refusal
            self.stream.set_identity(None);
        }
        end
    }

    /// Runs the exchange. What can come between: a time that is up, a change to the key, the gateway's end.
    async fn until_interrupted(
        &self,
        exchange: &Exchange<'_>,
        paths: &RoutedPaths<'_>,
        client: &mut Peer,
    ) -> ExchangeEnd {
        let admitted = exchange.permitted.admitted;
        let mut identity = exchange.permitted.identity.cloned();
        let mut running = pin!(exchange.send_with_retries(client));
        loop {
            let interrupt = match self.stream.run(running.as_mut()).await {
                Ok(ended) => return ended,
                Err(interrupt) => interrupt,
            };
            let answered = exchange.progress.status.get().is_some();
            match interrupt {
                Interrupt::Changed => {
                    let Some(held) = &identity else { continue };
                    match Box::pin(self.decide_again(held, admitted, paths)).await {
                        Ok(renewed) => identity = Some(renewed),
                        Err(refusal) if answered => return ExchangeEnd::AccessLost(refusal),
                        Err(refusal) => return ExchangeEnd::Refused(refusal),
                    }
                }
                // what runs may finish
                Interrupt::Drain => {}
                Interrupt::Close if exchange.is_open_websocket() => {
                    exchange.progress.closes_websocket.set(true);
                    let closed = tokio::time::timeout(WEBSOCKET_CLOSE_TIME, running.as_mut()).await;
                    return closed.unwrap_or(ExchangeEnd::Aborted("the gateway is stopping"));
                }
                Interrupt::Close if answered => return ExchangeEnd::Aborted("the gateway is stopping"),
                Interrupt::Close => return ExchangeEnd::Refused(Refusal::Stopping),
                Interrupt::Deadline => {
                    let waiting_for = exchange.progress.waiting_for.get();
                    // whether a slow side still takes bytes is looked at where its connection is at hand
                    if waiting_for.waits_for_write() && !exchange.progress.stall_check_due.replace(true) {
                        self.stream.set_deadline(Duration::ZERO);
                        continue;
                    }
                    return match waiting_for {
                        WaitingFor::Permit => ExchangeEnd::Refused(Refusal::UpstreamBusy),
                        WaitingFor::Connection => ExchangeEnd::Refused(Refusal::UpstreamTimeout),
                        WaitingFor::Upstream => {
                            exchange.failed(Failure::Timeout);
                            ExchangeEnd::Refused(Refusal::UpstreamTimeout)
                        }
                        WaitingFor::ClientBody => ExchangeEnd::Refused(Refusal::ClientTimeout),
                        WaitingFor::ResponseBody => {
                            ExchangeEnd::Aborted("the upstream's answer made no progress")
                        }
                        WaitingFor::Client => ExchangeEnd::ClientGone("the client took nothing"),
                        WaitingFor::TunnelBytes => ExchangeEnd::Aborted("the tunnel was idle"),
                    };
                }
            }
        }
    }
}
