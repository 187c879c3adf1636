//! The secrets of a key: rotation, its end, and what a rewound record is given back.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::audit::Attempt;
use super::error::TransactionError;
use super::keys::{editable, log, whole_milliseconds};
use super::{
    ChangeNumber, ExpectedRevision, KeyVerifier, KeyVerifiers, SecretId, Store, StoreError,
    uses_and_fingerprints,
};
use crate::model::{ApiKey, FormerSecret, KeyId, WantedOverlap};

/// How long the former secret of a key is valid beside the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// At the latest until then.
    pub ends: Timestamp,
    /// Until nobody has used it for so long, and the new one was used.
    pub until_unused: Option<Duration>,
}

impl Overlap {
    /// What is wanted, counted from now; `None`: the former secret stops at once.
    pub fn of(wanted: WantedOverlap, now: Timestamp) -> Option<Self> {
        let (lasts, until_unused) = match wanted {
            WantedOverlap::None => return None,
            WantedOverlap::For(lasts) => (lasts, None),
            WantedOverlap::UntilUnused { idle, at_most } => (at_most, Some(idle)),
        };
        Some(Self { ends: now.checked_add(lasts).unwrap_or(Timestamp::MAX), until_unused })
    }
}

/// The secrets of a key as another copy of the record has them.
#[derive(Debug)]
pub(super) struct LostSecrets {
    pub(super) key: ApiKey,
    pub(super) verifiers: KeyVerifiers,
}

impl Store {
    /// Gives a key another secret. The one before stays valid for `overlap`, and stops at once where that is `None`.
    ///
    /// Refused while a key has two secrets: a third would end the first, of which nobody was told.
    pub fn rotate_key(
        &mut self,
        id: KeyId,
        verifier: &KeyVerifier,
        overlap: Option<Overlap>,
        expected: &ExpectedRevision,
    ) -> Result<(ApiKey, ChangeNumber), StoreError> {
        self.change(&Attempt::new("rotate", "key", &id), |at| {
            let key = editable(at, id, expected)?;
            if !verifier.has_valid_hash() {
                return Err(TransactionError::refused("a key needs an argon2id verifier of its secret: none was given"));
            }
            let now = at.clock.now();
            if let Some(former) = key.former_at(now) {
                return Err(TransactionError::refused(format!(
                    "key {id} has two secrets already, the former one until {}: end that first (`portcullis key rotate {id} --end`)",
                    former.ends
                )));
            }
            // no two secrets of a key have the same, however quick the rotations and whatever the clock says
            let since = whole_milliseconds(now).max(key.secret_since + SignedDuration::from_millis(1));
            let former = overlap.map(|overlap| FormerSecret {
                since: key.secret_since,
                ends: overlap.ends,
                until_unused: overlap.until_unused,
            });
            let kept = if former.is_some() { ("phc", "\"inner\"") } else { ("''", "NULL") };
            at.prepare_cached(&format!(
                "UPDATE keys SET former_phc = {}, former_inner = {}, phc = ?2, \"inner\" = ?3 WHERE id = ?1",
                kept.0, kept.1
            ))?
            .execute((id.row(), &verifier.phc, &verifier.inner))?;
            set_secrets(at, id, since, former)?;
            if let Some(fingerprint) = &verifier.fingerprint {
                uses_and_fingerprints::save_fingerprint(at, SecretId { key: id, since }, fingerprint)?;
            }
            log(at, id, "rotate", Some(&key))
        })
    }

    /// Ends the former secret of a key that was rotated.
    pub fn end_rotation(
        &mut self,
        id: KeyId,
        expected: &ExpectedRevision,
    ) -> Result<(ApiKey, ChangeNumber), StoreError> {
        self.change(&Attempt::new("endrotation", "key", &id), |at| {
            let key = editable(at, id, expected)?;
            if key.former_at(at.clock.now()).is_none() {
                return Err(TransactionError::refused(format!(
                    "key {id} has one secret: there is none to end"
                )));
            }
            at.prepare_cached("UPDATE keys SET former_phc = '', former_inner = NULL WHERE id = ?1")?
                .execute([id.row()])?;
            set_secrets(at, id, key.secret_since, None)?;
            log(at, id, "endrotation", Some(&key))
        })
    }

    /// Gives a key back the secrets that it had in another copy of the record.
    pub(super) fn restore_secrets(
        &mut self,
        lost: &LostSecrets,
    ) -> Result<(ApiKey, ChangeNumber), StoreError> {
        let LostSecrets { key: was, verifiers } = lost;
        self.change(&Attempt::new("rotate", "key", &was.id), |at| {
            let key = editable(at, was.id, &ExpectedRevision::Any)?;
            let former = verifiers.former.as_ref();
            at.prepare_cached(
                "UPDATE keys SET phc = ?2, former_phc = ?3, \"inner\" = ?4, former_inner = ?5 WHERE id = ?1",
            )?
            .execute((
                was.id.row(),
                &verifiers.current.phc,
                former.map_or("", |former| former.phc.as_str()),
                &verifiers.current.inner,
                former.and_then(|former| former.inner.as_deref()),
            ))?;
            set_secrets(at, was.id, was.secret_since, was.former)?;
            let former =
                verifiers.former.as_ref().zip(was.former).map(|(verifier, former)| (verifier, former.since));
            for (verifier, since) in
                [Some((&verifiers.current, was.secret_since)), former].into_iter().flatten()
            {
                if let Some(fingerprint) = &verifier.fingerprint {
                    uses_and_fingerprints::save_fingerprint(
                        at,
                        SecretId { key: was.id, since },
                        fingerprint,
                    )?;
                }
            }
            log(at, was.id, "rotate", Some(&key))
        })
    }
}

/// Writes which secrets a key has, and forgets what was kept beside others.
fn set_secrets(
    at: &Connection,
    id: KeyId,
    since: Timestamp,
    former: Option<FormerSecret>,
) -> Result<(), TransactionError> {
    let (former_since, ends) =
        former.map_or((0, 0), |former| (former.since.as_millisecond(), former.ends.as_millisecond()));
    let idle = former.and_then(|former| former.until_unused).unwrap_or_default();
    let idle = i64::try_from(idle.as_millis()).unwrap_or(i64::MAX);
    let secrets = (id.row(), since.as_millisecond(), former_since);
    at.prepare_cached(
        "UPDATE keys SET secret_since = ?2, former_since = ?3, former_ends = ?4, former_idle = ?5 WHERE id = ?1",
    )?
    .execute((secrets.0, secrets.1, secrets.2, ends, idle))?;
    at.prepare_cached("DELETE FROM fingerprints WHERE key = ?1 AND secret NOT IN (?2, ?3)")?
        .execute(secrets)?;
    at.prepare_cached("DELETE FROM secret_uses WHERE key = ?1 AND (?3 = 0 OR secret NOT IN (?2, ?3))")?
        .execute(secrets)?;
    Ok(())
}
