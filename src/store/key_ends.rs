//! Which keys and secrets end by themselves, and when: read off the store without a scan, whatever the number of keys.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::Subject;
use super::error::TransactionError;
use super::row_mapping::Parsed;
use crate::model::{AccessKey, KeyId};

const NEXT_END: &str = "SELECT min(ends) AS ends FROM (
    SELECT * FROM (SELECT expires AS ends FROM keys WHERE expires > ?1 AND state <> 'removed'
        ORDER BY expires LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT former_ends FROM keys WHERE former_ends > ?1 AND former_ends > 0
        ORDER BY former_ends LIMIT 1)
    ) HAVING ends IS NOT NULL";

const ENDED_BETWEEN: &str = "
    SELECT * FROM (SELECT id, access_key FROM keys WHERE expires > ?1 AND expires <= ?2 AND state <> 'removed'
        ORDER BY expires LIMIT ?3)
    UNION ALL
    SELECT * FROM (SELECT id, access_key FROM keys
        WHERE former_ends > ?1 AND former_ends <= ?2 AND former_ends > 0 ORDER BY former_ends LIMIT ?3)";

/// The plus keeps SQLite from reading all active keys, of which there may be a million, by the index of states.
const COUNT_BETWEEN: &str = "SELECT count(*) FROM (SELECT 1 FROM keys
    WHERE expires > ?1 AND expires <= ?2 AND state <> 'removed' AND +state = 'active' LIMIT 100000)";

/// When the first key or former secret ends after `after`; `None` where none does.
pub(super) fn next_end(
    connection: &Connection,
    after: Timestamp,
) -> Result<Option<Timestamp>, TransactionError> {
    let next = connection
        .prepare_cached(NEXT_END)?
        .query_row([after.as_millisecond()], |row| super::row_mapping::time(row, "ends"))
        .optional()?;
    Ok(next)
}

/// The keys that end, or whose former secret ends, after `after` and not after `until`, at most `limit` of each.
pub(super) fn ended_between(
    connection: &Connection,
    after: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<Subject>, TransactionError> {
    let mut statement = connection.prepare_cached(ENDED_BETWEEN)?;
    let found = statement.query_map((after.as_millisecond(), until.as_millisecond(), limit), |row| {
        let access_key = row.get::<_, Parsed<AccessKey>>("access_key")?.0;
        Ok(Subject::Key { id: KeyId::from_row(row.get("id")?), access_key })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// How many active keys end after `after` and not after `until`; at most 100,000 are counted.
pub(super) fn count_between(
    connection: &Connection,
    after: Timestamp,
    until: Timestamp,
) -> Result<u64, TransactionError> {
    let count: i64 = connection
        .prepare_cached(COUNT_BETWEEN)?
        .query_row((after.as_millisecond(), until.as_millisecond()), |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Follower, KeysEnded, NewAccount, Store};
    use super::*;
    use crate::model::{AccountKind, Name};

    /// A store with so many keys, of which every hundredth was removed; all of them end at `end`.
    fn store_with_keys(path: &Path, count: u32, end: Timestamp) {
        let mut store = Store::create(path).unwrap();
        let name = Name::parse("somebody").unwrap().unwrap();
        let account = NewAccount { name, kind: AccountKind::User, description: None };
        let (account, _) = store.create_account(&account).unwrap();
        let connection = Connection::open(path).unwrap();
        let insert = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
            INSERT INTO keys (access_key, account, state, uuid, phc, created, removed, expires)
            SELECT 'k' || n, ?2, iif(n % 100, 'active', 'removed'), 'u' || n, iif(n % 100, '$argon2id$', ''), 1,
                iif(n % 100, NULL, 1), ?3 FROM n";
        connection.execute(insert, (count, account.id.row(), end.as_millisecond())).unwrap();
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn ends_are_found_along_the_index_that_is_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portcullis.db");
        store_with_keys(&path, 10, at(1_000));
        let connection = Connection::open(&path).unwrap();
        for query in [NEXT_END, ENDED_BETWEEN, COUNT_BETWEEN] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
            let nothing = vec![0; statement.parameter_count()];
            let steps =
                statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get("detail")).unwrap();
            let plan: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
            let searched: Vec<_> = plan.iter().filter(|step| step.contains(" keys ")).collect();
            let is_by_end = |step: &str| {
                step.contains("INDEX keys_all_by_expires (expires>?")
                    || step.contains("INDEX keys_by_former_end (former_ends>?")
            };
            assert!(
                !searched.is_empty()
                    && searched.iter().all(|step| step.starts_with("SEARCH") && is_by_end(step)),
                "{query}: {plan:?}"
            );
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{query}: {plan:?}");
        }
    }

    #[test]
    fn keys_that_end_in_one_millisecond_are_reported_once_and_very_many_as_everything() {
        for (keys, everything) in [(10_099, false), (10_110, true)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("portcullis.db");
            let end = at(1_900_000_000_000);
            store_with_keys(&path, keys, end);
            let mut follower = Follower::open(&path, at(0)).unwrap();
            assert_eq!(follower.poll_ends(at(end.as_millisecond() - 1)).unwrap(), None);
            let KeysEnded { until, changes } = follower.poll_ends(end).unwrap().unwrap();
            assert_eq!(until, end);
            if everything {
                assert!(matches!(&changes[..], [change] if change.subject == Subject::Everything), "{keys}");
            } else {
                assert_eq!(changes.len(), 9_999, "those that were removed are none");
                assert!(changes.iter().all(|change| matches!(change.subject, Subject::Key { .. })));
            }
            assert_eq!(follower.poll_ends(at(end.as_millisecond() + 1)).unwrap(), None);
        }
    }
}
