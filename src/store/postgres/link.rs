//! One connection to the record. Its methods block: a thread that may wait holds it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config};

use super::tls;
use crate::config::Postgres;
use crate::store::StoreError;

/// How long one question to the record may take, its network included. A record that is slower counts as away.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may take to each address of the server; until it can be used, it may take [`PATIENCE`].
const CONNECT: Duration = Duration::from_secs(3);

/// A connection that nothing was asked on for so long is kept alive: firewalls forget one after some minutes, without a
/// word, and the next change would be refused.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// What every connection says first: limits on the server's side, so that a gateway that stops in the middle of a
/// change (SIGSTOP, a dead machine) holds up nobody for longer.
const GREETING: &str = "SET search_path TO portcullis;
    SET lock_timeout = '4s';
    SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '10s';
    SET default_transaction_isolation = 'read committed';
    SET client_min_messages = warning;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// When the record was last heard of by who asks it for much.
#[derive(Debug)]
pub(super) struct Heard(Cell<Instant>);

impl Heard {
    pub(super) fn new() -> Self {
        Self(Cell::new(Instant::now()))
    }

    /// Something of the answer has come.
    pub(super) fn note(&self) {
        self.0.set(Instant::now());
    }

    /// Until nothing has come for [`PATIENCE`].
    async fn silence(&self) {
        loop {
            let end = self.0.get() + PATIENCE;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// A connection to the record, with the runtime that it lives on.
pub(in crate::store) struct Link {
    pub(super) runtime: Runtime,
    pub(super) client: Client,
    /// Something was announced on a channel that this connection listens to.
    pub(super) notices: mpsc::UnboundedReceiver<()>,
    /// The server and the database, for messages.
    record: String,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({})", self.record)
    }
}

impl Link {
    /// Connects to the primary: one host after the other, each with its own time. One that takes connections and says
    /// nothing must not keep the next from being asked.
    pub(in crate::store) fn open(postgres: &Postgres) -> Result<Self, StoreError> {
        let mut why: Option<StoreError> = None;
        for connection in each_host(&postgres.connection) {
            match Self::open_one(postgres, connection) {
                Ok(link) => return Ok(link),
                // what is to be mended is more worth knowing than what passes
                Err(error) if matches!(why, None | Some(StoreError::RecordAway { .. })) => why = Some(error),
                Err(_) => {}
            }
        }
        Err(why.unwrap_or(StoreError::Closed))
    }

    fn open_one(postgres: &Postgres, mut config: Config) -> Result<Self, StoreError> {
        let record = postgres.server_and_database();
        let away = |detail: String| StoreError::RecordAway { record: record.clone(), detail };
        let tls = tls::connector(&postgres.trust)
            .map_err(|detail| StoreError::RecordUnusable { record: record.clone(), detail })?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| away(error.to_string()))?;
        // a standby that answers must not be taken for the record
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.tcp_user_timeout(PATIENCE);
        if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            config.keepalives_idle(KEEPALIVE);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("portcullis");
        }
        let (notify, notices) = mpsc::unbounded_channel();
        let connect = async {
            let (client, mut connection) = config.connect(tls).await?;
            tokio::spawn(async move {
                // ends with the connection, whose error everybody gets who uses the client
                while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                    if let AsyncMessage::Notification(_) = message {
                        let _ = notify.send(());
                    }
                }
            });
            client.batch_execute(GREETING).await?;
            Ok(client)
        };
        let connected = runtime.block_on(async { timeout(PATIENCE, connect).await });
        let client = match connected {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(explain(&record, &error)),
            Err(_) => {
                // a name that is still being looked up is not waited for
                runtime.shutdown_background();
                return Err(away(format!("no connection within {PATIENCE:?}")));
            }
        };
        Ok(Self { runtime, client, notices, record })
    }

    /// Whether the connection has ended. One that has not may be dead all the same.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs what asks the record, for `limit` at most. After an error the connection is to be given up: what the
    /// server still does on it is not known.
    pub(super) fn within<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let Self { runtime, client, record, .. } = self;
        let done = runtime.block_on(async {
            let work = pin!(work(client));
            timeout(limit, work).await
        });
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Trouble::Record(error))) => Err(explain(record, &error)),
            Ok(Err(Trouble::Store(error))) => Err(error),
            Err(_) => Err(StoreError::RecordAway {
                record: record.clone(),
                detail: format!("no answer within {limit:?}"),
            }),
        }
    }

    /// The same for a long answer: the record may take `limit` for all of it, and be silent for [`PATIENCE`]. A server
    /// that is gone is not waited for any longer in the middle of an answer than before one.
    pub(super) fn within_unless_silent<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Client, &Heard) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let record = self.record.clone();
        self.within(limit, async |client| {
            let heard = Heard::new();
            let work = pin!(work(client, &heard));
            tokio::select! {
                done = work => done,
                () = heard.silence() => {
                    let detail = format!("no answer within {PATIENCE:?}");
                    Err(StoreError::RecordAway { record, detail }.into())
                }
            }
        })
    }

    pub(super) fn record(&self) -> &str {
        &self.record
    }
}

/// The same for each of the hosts alone.
fn each_host(all: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
    if hosts.len() < 2 {
        return vec![all.clone()];
    }
    let alone = |(at, host): (usize, &Host)| {
        let mut one = Config::new();
        match host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(path) => one.host_path(path),
        };
        // one port may stand for all
        if let Some(port) = ports.get(at).or(ports.first()) {
            one.port(*port);
        }
        if let Some(address) = addresses.get(at) {
            one.hostaddr(*address);
        }
        if let Some(user) = all.get_user() {
            one.user(user);
        }
        if let Some(password) = all.get_password() {
            one.password(password);
        }
        if let Some(database) = all.get_dbname() {
            one.dbname(database);
        }
        if let Some(options) = all.get_options() {
            one.options(options);
        }
        if let Some(name) = all.get_application_name() {
            one.application_name(name);
        }
        if let Some(limit) = all.get_connect_timeout() {
            one.connect_timeout(*limit);
        }
        if let Some(interval) = all.get_keepalives_interval() {
            one.keepalives_interval(interval);
        }
        if let Some(retries) = all.get_keepalives_retries() {
            one.keepalives_retries(retries);
        }
        one.ssl_mode(all.get_ssl_mode())
            .ssl_negotiation(all.get_ssl_negotiation())
            .channel_binding(all.get_channel_binding())
            .keepalives(all.get_keepalives())
            .keepalives_idle(all.get_keepalives_idle());
        one
    };
    hosts.iter().enumerate().map(alone).collect()
}

/// What goes wrong while the record is asked.
#[derive(Debug)]
pub(super) enum Trouble {
    Record(tokio_postgres::Error),
    Store(StoreError),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Record(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The error as the operator needs it: is the record away for a while, or is something to be mended?
fn explain(record: &str, error: &tokio_postgres::Error) -> StoreError {
    let record = record.to_owned();
    let Some(said) = error.as_db_error() else {
        return StoreError::RecordAway { record, detail: with_causes(error) };
    };
    let detail = format!("{} (SQLSTATE {})", said.message(), said.code().code());
    if passes(said.code()) {
        StoreError::RecordAway { record, detail }
    } else {
        StoreError::RecordUnusable { record, detail }
    }
}

/// Whether waiting helps. A server that lacks something, or ends, or a pooler that cannot reach it, say so in many ways.
fn passes(code: &SqlState) -> bool {
    // connections; rollbacks; resources; an operator's intervention; the system; what should not happen
    const CLASSES: [&str; 6] = ["08", "40", "53", "57", "58", "XX"];
    let codes = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    CLASSES.iter().any(|class| code.code().starts_with(class)) || codes.contains(code)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_alone_is_asked_as_all_would_be() {
        let parse = |url: &str| url.parse::<Config>().unwrap();
        let rest = "u:p@{}/d?sslmode=require&connect_timeout=9&options=-cgeqo%3Doff&application_name=a\
            &channel_binding=require&keepalives_idle=7&keepalives_interval=8&keepalives_retries=9&keepalives=0";
        let url = |hosts: &str| parse(&format!("postgres://{}", rest.replace("{}", hosts)));
        assert_eq!(each_host(&url("one:5,two:6")), [url("one:5"), url("two:6")]);
        let by_address = parse("postgres://one,two/d?hostaddr=192.0.2.1,192.0.2.2");
        let alone = ["one/d?hostaddr=192.0.2.1", "two/d?hostaddr=192.0.2.2"];
        assert_eq!(each_host(&by_address), alone.map(|one| parse(&format!("postgres://{one}"))));
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_is_to_be_mended() {
        for code in ["08P01", "40001", "53000", "53400", "57P05", "58030", "XX000", "55P03", "25006"] {
            assert!(passes(&SqlState::from_code(code)), "{code}");
        }
        for code in ["28P01", "3D000", "42501", "42P01", "23505"] {
            assert!(!passes(&SqlState::from_code(code)), "{code}");
        }
    }
}
