//! One connection to the record. Its methods block, so it belongs on a thread that may wait.

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

/// How long one query to the record may take, with the network. A slower record counts as unreachable.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take to each address of the server; until it can be used, it may take [`ANSWER_TIMEOUT`].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// After so long without traffic, keepalives are sent: firewalls silently drop an idle connection after some minutes, and
/// the next change would fail.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// The settings of every session: limits on the server's side, so that a gateway that stops in the middle of a change
/// (SIGSTOP, a dead machine) does not block others for longer.
const SESSION_SETTINGS: &str = "SET search_path TO portcullis;
    SET lock_timeout = '4s';
    SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '10s';
    SET default_transaction_isolation = 'read committed';
    SET client_min_messages = warning;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// When the record last sent a part of a long answer.
#[derive(Debug)]
pub(super) struct LastAnswer(Cell<Instant>);

impl LastAnswer {
    pub(super) fn new() -> Self {
        Self(Cell::new(Instant::now()))
    }

    /// A part of the answer has come.
    pub(super) fn set_to_now(&self) {
        self.0.set(Instant::now());
    }

    /// Waits until nothing has come for [`ANSWER_TIMEOUT`].
    async fn until_silent(&self) {
        loop {
            let end = self.0.get() + ANSWER_TIMEOUT;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// A connection to the record, with the runtime that it runs on.
pub(in crate::store) struct RecordConnection {
    pub(super) runtime: Runtime,
    pub(super) client: Client,
    /// Receives an item for each notification on a channel that this connection listens to.
    pub(super) notices: mpsc::UnboundedReceiver<()>,
    /// The server and the database, for messages.
    record: String,
}

impl std::fmt::Debug for RecordConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordConnection({})", self.record)
    }
}

impl RecordConnection {
    /// Connects to the primary: tries one host after the other, each with a timeout of its own, so that one that accepts
    /// connections and never answers does not hide the next.
    pub(in crate::store) fn open(postgres: &Postgres) -> Result<Self, StoreError> {
        let mut why: Option<StoreError> = None;
        for connection in each_host(&postgres.connection) {
            match Self::open_one(postgres, connection) {
                Ok(link) => return Ok(link),
                // an error that somebody must mend is more useful than one that passes
                Err(error) if matches!(why, None | Some(StoreError::RecordUnreachable { .. })) => {
                    why = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(why.unwrap_or(StoreError::Closed))
    }

    fn open_one(postgres: &Postgres, mut config: Config) -> Result<Self, StoreError> {
        let record = postgres.server_and_database();
        let away = |detail: String| StoreError::RecordUnreachable { record: record.clone(), detail };
        let tls = tls::connector(&postgres.trust)
            .map_err(|detail| StoreError::RecordUnusable { record: record.clone(), detail })?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| away(error.to_string()))?;
        // a standby must not be taken for the record
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.tcp_user_timeout(ANSWER_TIMEOUT);
        if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            config.keepalives_idle(KEEPALIVE);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("portcullis");
        }
        let (notify, notices) = mpsc::unbounded_channel();
        let connect = async {
            let (client, mut connection) = config.connect(tls).await?;
            tokio::spawn(async move {
                // ends with the connection, whose error all users of the client get
                while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                    if let AsyncMessage::Notification(_) = message {
                        let _ = notify.send(());
                    }
                }
            });
            client.batch_execute(SESSION_SETTINGS).await?;
            Ok(client)
        };
        let connected = runtime.block_on(async { timeout(ANSWER_TIMEOUT, connect).await });
        let client = match connected {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(store_error(&record, &error)),
            Err(_) => {
                // do not wait for a name that is still being looked up
                runtime.shutdown_background();
                return Err(away(format!("no connection within {ANSWER_TIMEOUT:?}")));
            }
        };
        Ok(Self { runtime, client, notices, record })
    }

    /// Whether the connection is known to have ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs queries, for `limit` at most. After an error, drop the connection: what the server still does on it is not known.
    pub(super) fn within<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, RecordError>,
    ) -> Result<T, StoreError> {
        let Self { runtime, client, record, .. } = self;
        let done = runtime.block_on(async {
            let work = pin!(work(client));
            timeout(limit, work).await
        });
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(RecordError::Record(error))) => Err(store_error(record, &error)),
            Ok(Err(RecordError::Store(error))) => Err(error),
            Err(_) => Err(StoreError::RecordUnreachable {
                record: record.clone(),
                detail: format!("no answer within {limit:?}"),
            }),
        }
    }

    /// The same for a long answer: the record may take `limit` for all of it, but be silent for [`ANSWER_TIMEOUT`] at most.
    pub(super) fn within_with_idle_timeout<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Client, &LastAnswer) -> Result<T, RecordError>,
    ) -> Result<T, StoreError> {
        let record = self.record.clone();
        self.within(limit, async |client| {
            let last_answer = LastAnswer::new();
            let work = pin!(work(client, &last_answer));
            tokio::select! {
                done = work => done,
                () = last_answer.until_silent() => {
                    let detail = format!("no answer within {ANSWER_TIMEOUT:?}");
                    Err(StoreError::RecordUnreachable { record, detail }.into())
                }
            }
        })
    }

    pub(super) fn record(&self) -> &str {
        &self.record
    }
}

/// The configuration of all hosts, as one for each host.
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

/// An error while the record is queried.
#[derive(Debug)]
pub(super) enum RecordError {
    Record(tokio_postgres::Error),
    Store(StoreError),
}

impl From<tokio_postgres::Error> for RecordError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Record(error)
    }
}

impl From<StoreError> for RecordError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The error as the operator needs it: is the record unreachable for a while, or must somebody mend something?
fn store_error(record: &str, error: &tokio_postgres::Error) -> StoreError {
    let record = record.to_owned();
    let Some(said) = error.as_db_error() else {
        return StoreError::RecordUnreachable { record, detail: with_causes(error) };
    };
    let detail = format!("{} (SQLSTATE {})", said.message(), said.code().code());
    if is_temporary(said.code()) {
        StoreError::RecordUnreachable { record, detail }
    } else {
        StoreError::RecordUnusable { record, detail }
    }
}

/// Whether the error passes by itself. There are many codes: for servers that lack something or stop, and for poolers.
fn is_temporary(code: &SqlState) -> bool {
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
    fn each_host_keeps_the_settings_of_all() {
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
    fn temporary_errors_are_told_from_those_that_somebody_must_mend() {
        for code in ["08P01", "40001", "53000", "53400", "57P05", "58030", "XX000", "55P03", "25006"] {
            assert!(is_temporary(&SqlState::from_code(code)), "{code}");
        }
        for code in ["28P01", "3D000", "42501", "42P01", "23505"] {
            assert!(!is_temporary(&SqlState::from_code(code)), "{code}");
        }
    }
}
