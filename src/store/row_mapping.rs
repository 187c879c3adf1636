//! SQLite rows as the model's types, and objects as the JSON of the logs.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use serde_json::{Value, json};

use super::{ChangeNumber, KeyEntry, KeyUsage};
use crate::model::{
    Account, AccountId, ApiKey, Description, Environment, EnvironmentId, FormerSecret, KeyId, KeyOwner,
    Membership, Name, Role, Scope,
};

/// A text column that the model parses.
pub(super) struct Parsed<T>(pub(super) T);

impl<T: FromStr> FromSql for Parsed<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(FromSqlError::other)
    }
}

fn parsed<T: FromStr>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, Parsed<T>>(column).map(|value| value.0)
}

struct Milliseconds(Timestamp);

impl FromSql for Milliseconds {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_millisecond(value.as_i64()?).map(Self).map_err(FromSqlError::other)
    }
}

pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get::<_, Milliseconds>(column).map(|value| value.0)
}

fn optional_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<Milliseconds>>(column).map(|value| value.map(|time| time.0))
}

/// A time in a column where 0 is none.
fn time_or_zero(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(Some(time(row, column)?).filter(|time| *time != Timestamp::UNIX_EPOCH))
}

/// A time for a column where 0 is none.
pub(super) fn milliseconds_or_zero(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::as_millisecond)
}

struct NameColumn(Option<Name>);

impl FromSql for NameColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self(None)),
            text => Name::parse(text.as_str()?).map(Self).map_err(FromSqlError::other),
        }
    }
}

struct DescriptionColumn(Option<Description>);

impl FromSql for DescriptionColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self(None)),
            text => Description::parse(text.as_str()?).map(Self).map_err(FromSqlError::other),
        }
    }
}

fn name(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Name>> {
    row.get::<_, NameColumn>(column).map(|value| value.0)
}

fn description(row: &Row<'_>) -> rusqlite::Result<Option<Description>> {
    row.get::<_, DescriptionColumn>("description").map(|value| value.0)
}

/// A row of `accounts`.
pub(super) fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let nameless = || rusqlite::Error::InvalidColumnType(0, "name".to_owned(), rusqlite::types::Type::Null);
    Ok(Account {
        id: AccountId::from_row(row.get("id")?),
        name: name(row, "name")?.ok_or_else(nameless)?,
        description: description(row)?,
        kind: parsed(row, "kind")?,
        state: parsed(row, "state")?,
        uuid: row.get("uuid")?,
        created: time(row, "created")?,
        removed: optional_time(row, "removed")?,
    })
}

/// A row of `environments`.
pub(super) fn environment(row: &Row<'_>) -> rusqlite::Result<Environment> {
    Ok(Environment {
        id: parsed(row, "id")?,
        name: name(row, "name")?,
        description: description(row)?,
        state: parsed(row, "state")?,
        uuid: row.get("uuid")?,
        created: time(row, "created")?,
        removed: optional_time(row, "removed")?,
    })
}

/// A row of `keys`, with the environment's id as `environment_id`.
pub(super) fn key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    let owner = match row.get::<_, Option<i64>>("account")? {
        Some(account) => KeyOwner::Account(AccountId::from_row(account)),
        None => KeyOwner::Environment(parsed::<EnvironmentId>(row, "environment_id")?),
    };
    Ok(ApiKey {
        id: KeyId::from_row(row.get("id")?),
        access_key: parsed(row, "access_key")?,
        owner,
        name: name(row, "name")?,
        description: description(row)?,
        state: parsed(row, "state")?,
        uuid: row.get("uuid")?,
        expires: time_or_zero(row, "expires")?,
        scope: row.get::<_, Option<Parsed<Scope>>>("scope")?.map(|scope| Box::new(scope.0)),
        secret_since: time(row, "secret_since")?,
        former: former(row)?,
        created: time(row, "created")?,
        removed: optional_time(row, "removed")?,
    })
}

fn former(row: &Row<'_>) -> rusqlite::Result<Option<FormerSecret>> {
    let Some(ends) = time_or_zero(row, "former_ends")? else { return Ok(None) };
    let idle: i64 = row.get("former_idle")?;
    let until_unused = Some(Duration::from_millis(idle.cast_unsigned())).filter(|idle| !idle.is_zero());
    Ok(Some(FormerSecret { since: time(row, "former_since")?, ends, until_unused }))
}

/// The number of the change that last touched the row.
pub(super) fn revision(row: &Row<'_>) -> rusqlite::Result<ChangeNumber> {
    Ok(ChangeNumber(row.get::<_, i64>("revision")?.cast_unsigned()))
}

/// When, from where and how often a key was used.
pub(super) fn usage(row: &Row<'_>) -> rusqlite::Result<KeyUsage> {
    used(row, ["last_used", "last_used_address", "uses"])
}

fn used(row: &Row<'_>, [last_used, address, uses]: [&str; 3]) -> rusqlite::Result<KeyUsage> {
    let address = row.get::<_, Option<Parsed<IpAddr>>>(address)?.map(|address| address.0);
    let uses: i64 = row.get(uses)?;
    Ok(KeyUsage { at: time_or_zero(row, last_used)?, address, uses: uses.cast_unsigned() })
}

/// A row of `keys` with what [`KEY_JOINS`] joins: the key, its revision and usage.
pub(super) fn key_entry(row: &Row<'_>) -> rusqlite::Result<KeyEntry> {
    Ok(KeyEntry {
        key: key(row)?,
        revision: revision(row)?,
        usage: usage(row)?,
        secret_usage: used(row, ["secret_last_used", "secret_address", "secret_uses"])?,
        former_usage: used(row, ["former_last_used", "former_address", "former_uses"])?,
    })
}

/// What is selected of keys.
pub(super) const KEY_COLUMNS: &str = "keys.*, environments.id AS environment_id,
    coalesce(secret.last_used, 0) AS secret_last_used, secret.address AS secret_address,
    coalesce(secret.uses, 0) AS secret_uses,
    coalesce(former.last_used, 0) AS former_last_used, former.address AS former_address,
    coalesce(former.uses, 0) AS former_uses";

/// The environment that owns a key, and the uses of its two secrets.
pub(super) const KEY_JOINS: &str = "LEFT JOIN environments ON environments.row = keys.environment
    LEFT JOIN secret_uses AS secret ON secret.key = keys.id AND secret.secret = keys.secret_since
    LEFT JOIN secret_uses AS former ON former.key = keys.id AND former.secret = keys.former_since";

/// A row of `memberships`, with the environment's id as `environment_id`.
pub(super) fn membership(row: &Row<'_>) -> rusqlite::Result<Membership> {
    Ok(Membership {
        account: AccountId::from_row(row.get("account")?),
        environment: parsed(row, "environment_id")?,
        role: parsed(row, "role")?,
    })
}

fn milliseconds(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millisecond)
}

/// An account as the logs have it.
pub(super) fn account_json(account: &Account) -> Value {
    json!({
        "id": account.id.to_string(),
        "name": account.name.as_str(),
        "description": account.description.as_ref().map(Description::as_str),
        "kind": account.kind.as_str(),
        "state": account.state.as_str(),
        "uuid": account.uuid,
        "created": account.created.as_millisecond(),
        "removed": milliseconds(account.removed),
    })
}

/// An environment as the logs have it.
pub(super) fn environment_json(environment: &Environment) -> Value {
    json!({
        "id": environment.id.as_str(),
        "name": environment.name.as_ref().map(Name::as_str),
        "description": environment.description.as_ref().map(Description::as_str),
        "state": environment.state.as_str(),
        "uuid": environment.uuid,
        "created": environment.created.as_millisecond(),
        "removed": milliseconds(environment.removed),
    })
}

/// A key as the logs have it, without what verifies its secret: the logs outlive a removed key.
pub(super) fn key_json(key: &ApiKey) -> Value {
    let (account, environment) = match &key.owner {
        KeyOwner::Account(id) => (Some(id.to_string()), None),
        KeyOwner::Environment(id) => (None, Some(id.to_string())),
    };
    json!({
        "id": key.id.to_string(),
        "accessKey": key.access_key.as_str(),
        "account": account,
        "environment": environment,
        "name": key.name.as_ref().map(Name::as_str),
        "description": key.description.as_ref().map(Description::as_str),
        "state": key.state.as_str(),
        "uuid": key.uuid,
        "expires": milliseconds(key.expires),
        "scope": key.scope.as_ref().map(|scope| scope.json()),
        "secretSince": key.secret_since.as_millisecond(),
        "previousSince": milliseconds(key.former.map(|former| former.since)),
        "previousEnds": milliseconds(key.former.map(|former| former.ends)),
        "previousUntilUnused": key.former.and_then(|former| Some(former.until_unused?.as_secs())),
        "created": key.created.as_millisecond(),
        "removed": milliseconds(key.removed),
    })
}

/// A membership as the logs have it; without a role if it has ended.
pub(super) fn membership_json(membership: &Membership, role: Option<Role>) -> Value {
    json!({
        "account": membership.account.to_string(),
        "environment": membership.environment.as_str(),
        "role": role.map(Role::as_str),
    })
}
