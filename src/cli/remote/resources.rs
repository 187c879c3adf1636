//! The API's documents as the model's types. Strict: what a gateway would not send is an error, whoever sent it.

use std::str::FromStr;

use jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::{
    Account, AccountId, AccountKind, ApiKey, Description, Environment, EnvironmentId, FormerSecret, KeyOwner,
    Membership, Name, Role, Scope, ScopeFields, State, TextError,
};
use crate::store::{ChangeNumber, KeyEntry, KeyUsage, MemberEntry};

/// A document that is not what it should be. It quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its field '{field}' is missing, or not as a gateway writes it")]
pub(in crate::cli) struct Unexpected {
    field: &'static str,
}

/// `apiKey`. The revision is not in it.
pub(in crate::cli) fn key(document: &Value) -> Result<KeyEntry, Unexpected> {
    let fields = Fields::of(document, "apiKey")?;
    let owner = match fields.text("ownerType")? {
        "account" => KeyOwner::Account(fields.parsed::<AccountId>("accountId")?),
        "project" => KeyOwner::Environment(fields.parsed::<EnvironmentId>("accountId")?),
        _ => return Err(Unexpected { field: "ownerType" }),
    };
    let former = match fields.time("previousEndsTS")? {
        None => None,
        Some(ends) => Some(FormerSecret {
            since: fields.time("previousSinceTS")?.ok_or(Unexpected { field: "previousSinceTS" })?,
            ends,
            until_unused: fields
                .optional("previousUntilUnused", |text| humantime::parse_duration(text).ok())?,
        }),
    };
    Ok(KeyEntry {
        key: ApiKey {
            id: fields.parsed("id")?,
            access_key: fields.parsed("publicValue")?,
            owner,
            name: fields.name()?,
            description: fields.description()?,
            state: fields.state()?,
            uuid: fields.uuid()?,
            expires: fields.time("expiresTS")?,
            scope: fields.scope()?,
            // an older gateway rotates no keys
            secret_since: fields.time("secretSinceTS")?.map_or_else(|| fields.created(), Ok)?,
            former,
            created: fields.created()?,
            removed: fields.time("removedTS")?,
        },
        revision: ChangeNumber(0),
        usage: fields
            .usage(["lastUsedTS", "lastUsedAddress", "useCount"])?
            .ok_or(Unexpected { field: "useCount" })?,
        secret_usage: fields
            .usage(["secretLastUsedTS", "secretLastUsedAddress", "secretUses"])?
            .unwrap_or_default(),
        former_usage: fields
            .usage(["previousLastUsedTS", "previousLastUsedAddress", "previousUses"])?
            .unwrap_or_default(),
    })
}

/// `account`.
pub(in crate::cli) fn account(document: &Value) -> Result<Account, Unexpected> {
    let fields = Fields::of(document, "account")?;
    Ok(Account {
        id: fields.parsed("id")?,
        name: fields.name()?.ok_or(Unexpected { field: "name" })?,
        description: fields.description()?,
        kind: fields.parsed::<AccountKind>("kind")?,
        state: fields.state()?,
        uuid: fields.uuid()?,
        created: fields.created()?,
        removed: fields.time("removedTS")?,
    })
}

/// `project`.
pub(in crate::cli) fn environment(document: &Value) -> Result<Environment, Unexpected> {
    let fields = Fields::of(document, "project")?;
    Ok(Environment {
        id: fields.parsed("id")?,
        name: fields.name()?,
        description: fields.description()?,
        state: fields.state()?,
        uuid: fields.uuid()?,
        created: fields.created()?,
        removed: fields.time("removedTS")?,
    })
}

/// `projectMember`.
pub(in crate::cli) fn member(document: &Value) -> Result<MemberEntry, Unexpected> {
    let fields = Fields::of(document, "projectMember")?;
    Ok(MemberEntry {
        membership: Membership {
            account: fields.parsed("externalId")?,
            environment: fields.parsed("projectId")?,
            role: fields.parsed::<Role>("role")?,
        },
        name: fields.name()?.ok_or(Unexpected { field: "name" })?.to_string(),
    })
}

/// The fields of one document.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn of(document: &'a Value, kind: &str) -> Result<Self, Unexpected> {
        let wrong = Unexpected { field: "type" };
        let fields = Self(document.as_object().ok_or(wrong)?);
        if fields.text("type")? == kind { Ok(fields) } else { Err(wrong) }
    }

    /// A field; null is none.
    fn value(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn text(&self, field: &'static str) -> Result<&'a str, Unexpected> {
        self.value(field).and_then(Value::as_str).ok_or(Unexpected { field })
    }

    fn parsed<T: FromStr>(&self, field: &'static str) -> Result<T, Unexpected> {
        self.text(field)?.parse().map_err(|_| Unexpected { field })
    }

    fn optional<T>(
        &self,
        field: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Unexpected> {
        let Some(value) = self.value(field) else { return Ok(None) };
        value.as_str().and_then(read).map(Some).ok_or(Unexpected { field })
    }

    /// A text that the model bounds and cleans; an empty one is none.
    fn bounded<T>(
        &self,
        field: &'static str,
        parse: impl Fn(&str) -> Result<Option<T>, TextError>,
    ) -> Result<Option<T>, Unexpected> {
        Ok(self.optional(field, |text| parse(text).ok())?.flatten())
    }

    fn name(&self) -> Result<Option<Name>, Unexpected> {
        self.bounded("name", Name::parse)
    }

    fn description(&self) -> Result<Option<Description>, Unexpected> {
        self.bounded("description", Description::parse)
    }

    /// The state in the record: what is on its way is there already.
    fn state(&self) -> Result<State, Unexpected> {
        match self.text("state")? {
            "active" | "activating" => Ok(State::Active),
            "inactive" | "deactivating" => Ok(State::Inactive),
            "removed" | "removing" => Ok(State::Removed),
            _ => Err(Unexpected { field: "state" }),
        }
    }

    fn uuid(&self) -> Result<String, Unexpected> {
        let text = self.text("uuid")?;
        Uuid::try_parse(text).map_err(|_| Unexpected { field: "uuid" })?;
        Ok(text.to_owned())
    }

    /// What a key may do. A field that this program does not know could narrow it further.
    fn scope(&self) -> Result<Option<Box<Scope>>, Unexpected> {
        let Some(value) = self.value("scope") else { return Ok(None) };
        let wrong = Unexpected { field: "scope" };
        let fields: ScopeFields = ScopeFields::deserialize(value).map_err(|_| wrong)?;
        let scope = Scope::new(&fields).ok().flatten().ok_or(wrong)?;
        Ok(Some(Box::new(scope)))
    }

    fn created(&self) -> Result<Timestamp, Unexpected> {
        self.time("createdTS")?.ok_or(Unexpected { field: "createdTS" })
    }

    /// How a key or a secret was used; `None` where the gateway does not say how often.
    fn usage(&self, [at, address, uses]: [&'static str; 3]) -> Result<Option<KeyUsage>, Unexpected> {
        let Some(count) = self.value(uses) else { return Ok(None) };
        Ok(Some(KeyUsage {
            at: self.time(at)?,
            address: self.optional(address, |text| text.parse().ok())?,
            uses: count.as_u64().ok_or(Unexpected { field: uses })?,
        }))
    }

    /// A time in milliseconds.
    fn time(&self, field: &'static str) -> Result<Option<Timestamp>, Unexpected> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let time = value.as_i64().and_then(|time| Timestamp::from_millisecond(time).ok());
        time.map(Some).ok_or(Unexpected { field })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::management::resource_json::{self, RenderOptions};

    fn entry() -> KeyEntry {
        KeyEntry {
            key: ApiKey {
                id: "1c5".parse().unwrap(),
                access_key: "pce_x".parse().unwrap(),
                owner: KeyOwner::Environment("1a5".parse().unwrap()),
                name: Name::parse("ci").unwrap(),
                description: Description::parse("two\nlines").unwrap(),
                state: State::Removed,
                uuid: "6f2c7e5e-7a2b-4a47-9a0a-0f2f8a4a2f11".to_owned(),
                expires: Some(Timestamp::from_second(1_800_000_000).unwrap()),
                scope: Some(Box::new(r#"{"read_only":true,"networks":["10.0.0.0/8"]}"#.parse().unwrap())),
                secret_since: Timestamp::from_millisecond(1_700_000_000_456).unwrap(),
                former: Some(FormerSecret {
                    since: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
                    ends: Timestamp::from_second(1_800_000_000).unwrap(),
                    until_unused: Some(std::time::Duration::from_hours(2)),
                }),
                created: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
                removed: Some(Timestamp::from_millisecond(1_700_000_001_456).unwrap()),
            },
            revision: ChangeNumber(0),
            usage: KeyUsage {
                at: Some(Timestamp::from_millisecond(1_700_000_000_789).unwrap()),
                address: Some("2001:db8::1".parse().unwrap()),
                uses: 7,
            },
            secret_usage: KeyUsage {
                at: Some(Timestamp::from_millisecond(1_700_000_000_791).unwrap()),
                address: Some("2001:db8::1".parse().unwrap()),
                uses: 5,
            },
            former_usage: KeyUsage {
                at: Some(Timestamp::from_millisecond(1_700_000_000_789).unwrap()),
                address: Some("2001:db8::1".parse().unwrap()),
                uses: 2,
            },
        }
    }

    #[test]
    fn what_the_api_writes_is_read_as_it_was() {
        let mut owned = entry();
        assert_eq!(key(&resource_json::key(&owned, None, &RenderOptions::default())), Ok(owned.clone()));
        // an environment may be called as an account is
        owned.key.owner = KeyOwner::Account("1a5".parse().unwrap());
        owned.key.removed = None;
        owned.key.expires = None;
        owned.key.scope = None;
        owned.key.former = None;
        (owned.secret_usage, owned.former_usage) = Default::default();
        owned.key.state = State::Active;
        owned.usage = KeyUsage::default();
        assert_eq!(key(&resource_json::key(&owned, Some("secret"), &RenderOptions::default())), Ok(owned));
    }

    #[test]
    fn what_no_gateway_writes_is_refused() {
        let whole = resource_json::key(&entry(), None, &RenderOptions::default());
        for (field, value) in [
            ("type", "account".into()),
            ("id", "1a5".into()),
            ("id", Value::Null),
            ("publicValue", "a:b".into()),
            ("accountId", "../..".into()),
            ("ownerType", "god".into()),
            ("name", "\u{1b}[2J".into()),
            ("name", 5.into()),
            ("name", "x".repeat(256).into()),
            ("description", "\u{202e}".into()),
            ("state", "purged".into()),
            ("uuid", "\u{9b}31m".into()),
            ("createdTS", Value::Null),
            ("createdTS", i64::MAX.into()),
            ("removedTS", "soon".into()),
            ("expiresTS", "soon".into()),
            ("scope", "read_only".into()),
            ("scope", serde_json::json!({ "read_only": true, "more": 1 })),
            ("scope", serde_json::json!({})),
            ("secretSinceTS", "soon".into()),
            ("previousUses", (-1).into()),
            ("previousSinceTS", Value::Null),
            ("lastUsedAddress", "here".into()),
            ("useCount", (-1).into()),
        ] {
            let mut document = whole.clone();
            document[field] = value.clone();
            assert_eq!(key(&document).err(), Some(Unexpected { field }), "{value}");
        }
        for document in [Value::Null, Value::Array(vec![]), "apiKey".into(), serde_json::json!({})] {
            assert_eq!(key(&document).err(), Some(Unexpected { field: "type" }));
        }
    }
}
