//! One connection to the record. Its methods block: a thread that may wait holds it.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client};

use super::tls;
use crate::config::Postgres;
use crate::store::StoreError;

/// How long one question to the record may take, its network included. A record that is slower counts as away.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may take to each address of the server; until it can be used, it may take [`PATIENCE`].
const CONNECT: Duration = Duration::from_secs(3);

/// What every connection says first: limits on the server's side, so that a gateway that stops in the middle of a
/// change (SIGSTOP, a dead machine) holds up nobody for longer.
const GREETING: &str = "SET search_path TO portcullis;
    SET lock_timeout = '4s';
    SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '10s';
    SET default_transaction_isolation = 'read committed';
    SET client_min_messages = warning;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

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
    /// Connects to the primary.
    pub(in crate::store) fn open(postgres: &Postgres) -> Result<Self, StoreError> {
        let record = postgres.shown();
        let away = |detail: String| StoreError::RecordAway { record: record.clone(), detail };
        let tls = tls::connector(&postgres.trust)
            .map_err(|detail| StoreError::RecordUnusable { record: record.clone(), detail })?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| away(error.to_string()))?;
        let mut config = postgres.connection.clone();
        // a standby that answers must not be taken for the record
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.tcp_user_timeout(PATIENCE);
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
            Err(_) => return Err(away(format!("no connection within {PATIENCE:?}"))),
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

    pub(super) fn record(&self) -> &str {
        &self.record
    }
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
    let passes = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::DISK_FULL,
        SqlState::OUT_OF_MEMORY,
    ];
    let detail = format!("{} (SQLSTATE {})", said.message(), said.code().code());
    if passes.contains(said.code()) {
        StoreError::RecordAway { record, detail }
    } else {
        StoreError::RecordUnusable { record, detail }
    }
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
