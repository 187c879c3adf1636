//! The transaction in which every change is made and authorized.

use std::ops::Deref;

use rusqlite::Connection;

use super::author::Author;
use super::error::TransactionError;
use super::{RecordClock, StoreError, lookup};
use crate::model::Principal;
use crate::policy::{self, ManagementAction, Verdict};

/// A transaction that makes changes, and who makes them.
pub(super) struct WriteTransaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) author: &'a Author,
    /// By which keys end.
    pub(super) clock: &'a RecordClock,
}

impl Deref for WriteTransaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl WriteTransaction<'_> {
    /// Whether the author may do it, by what the record says now.
    pub(super) fn authorize(&self, action: &ManagementAction) -> Result<(), TransactionError> {
        let Author::Key(acting) = self.author else { return Ok(()) };
        let record = lookup::key(self.connection, acting.access_key.as_str())?.record;
        let works =
            |principal: &Principal| principal.is_active() && !principal.key.has_expired(self.clock.now());
        let Some(record) = record.filter(|record| works(&record.principal)) else {
            return Err(StoreError::KeyNoLongerWorks { access_key: acting.access_key.clone() }.into());
        };
        match policy::authorize(&record.principal, action) {
            Verdict::Allowed => Ok(()),
            Verdict::Refused | Verdict::Narrowed | Verdict::Hidden => Err(StoreError::NotPermitted.into()),
        }
    }

    /// A key's holder is told where somebody else was faster, and cannot take away an environment's last owner. A command
    /// can, and a change that changes nothing is done for it.
    pub(super) fn author_is_key_holder(&self) -> bool {
        matches!(self.author, Author::Key(_))
    }
}
