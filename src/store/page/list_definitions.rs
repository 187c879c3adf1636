//! The definitions of all lists: which tables they read, and what they are filtered and sorted by.

use super::super::row_mapping;
use super::field::{Field, FieldKind, field};

/// A kind of rows that can be listed.
pub(in crate::store) struct ListDefinition {
    /// Its table.
    pub(super) table: &'static str,
    /// What is selected, and from what beside the table.
    pub(super) columns: &'static str,
    pub(super) join: &'static str,
    /// The column that tells rows apart, qualified.
    pub(super) row: &'static str,
    /// The columns that a search looks at.
    pub(super) searched: &'static [&'static str],
    /// What it can be filtered and sorted by; the first is the order where none is asked for.
    pub(super) fields: &'static [Field],
    /// Whether removed rows stay in the table. Lists leave them out.
    pub(super) has_removed: bool,
}

/// By which fields keys can be filtered and sorted.
pub const KEY_FIELDS: &[Field] = &[
    field("id", FieldKind::Id("1c"), "keys.id", Some("id"), true),
    field("name", FieldKind::Text, "keys.sorted_name", Some("sorted_name"), true),
    field("description", FieldKind::Text, "keys.description", Some("sorted_description"), false),
    field("accountId", FieldKind::Owner, "keys.owner", None, true),
    field("publicValue", FieldKind::Text, "keys.access_key", Some("access_key"), true),
    field("state", FieldKind::Word, "keys.state", Some("state"), true),
    field("kind", FieldKind::Word, "'apiKey'", None, false),
    field("uuid", FieldKind::Word, "keys.uuid", None, true),
    field("created", FieldKind::Time, "keys.created", Some("created"), true),
    field("removed", FieldKind::Time, "keys.removed", None, false),
    field("expires", FieldKind::Time, "keys.expires", Some("expires"), true),
    field("lastUsed", FieldKind::Time, "keys.last_used", Some("last_used"), true),
    field("useCount", FieldKind::Number, "keys.uses", Some("uses"), true),
];

/// By which fields accounts can be filtered and sorted.
pub const ACCOUNT_FIELDS: &[Field] = &[
    field("id", FieldKind::Id("1a"), "accounts.id", Some("id"), true),
    field("name", FieldKind::Text, "accounts.sorted_name", Some("sorted_name"), true),
    field("description", FieldKind::Text, "accounts.description", None, false),
    field("kind", FieldKind::Word, "accounts.kind", Some("kind"), true),
    field("state", FieldKind::Word, "accounts.state", Some("state"), true),
    field("uuid", FieldKind::Word, "accounts.uuid", None, false),
    field("created", FieldKind::Time, "accounts.created", Some("created"), true),
    field("removed", FieldKind::Time, "accounts.removed", None, false),
];

/// By which fields environments can be filtered and sorted.
pub const ENVIRONMENT_FIELDS: &[Field] = &[
    field("created", FieldKind::Time, "environments.created", Some("created"), true),
    field("id", FieldKind::Word, "environments.id", Some("id"), true),
    field("name", FieldKind::Text, "environments.sorted_name", Some("sorted_name"), true),
    field("description", FieldKind::Text, "environments.description", None, false),
    field("state", FieldKind::Word, "environments.state", Some("state"), true),
    field("uuid", FieldKind::Word, "environments.uuid", None, false),
    field("removed", FieldKind::Time, "environments.removed", None, false),
];

/// What an audit row is about, in the API's words.
const RESOURCE_TYPE: &str = "CASE audit.subject WHEN 'key' THEN 'apiKey' WHEN 'environment' THEN 'project' \
    WHEN 'membership' THEN 'projectMember' ELSE audit.subject END";

/// By which fields the audit log can be filtered; it is always in the order of its ids.
pub const AUDIT_FIELDS: &[Field] = &[
    field("id", FieldKind::Id("1al"), "audit.id", Some("id"), true),
    field("created", FieldKind::Time, "audit.at", None, true),
    field("action", FieldKind::Word, "audit.action", None, true),
    field("resourceType", FieldKind::Word, RESOURCE_TYPE, None, false),
    field("resourceId", FieldKind::Word, "audit.object", None, true),
    field("accountId", FieldKind::Word, "audit.actor", None, true),
    field("accessKey", FieldKind::Word, "audit.access_key", None, true),
    field("clientIp", FieldKind::Word, "audit.address", None, false),
    field("outcome", FieldKind::Word, "audit.outcome", None, false),
    field("via", FieldKind::Word, "audit.via", None, false),
    field("requestId", FieldKind::Word, "audit.request", None, false),
];

/// By which fields memberships can be filtered; they are always in the order of their environments, then accounts.
pub const MEMBER_FIELDS: &[Field] = &[
    field("projectId", FieldKind::Word, "environments.id", Some("environment"), false),
    field("externalId", FieldKind::Id("1a"), "memberships.account", None, false),
    field("role", FieldKind::Word, "memberships.role", None, false),
    field("name", FieldKind::Text, "accounts.sorted_name", None, false),
];

impl ListDefinition {
    pub(in crate::store) const MEMBERS: Self = Self {
        table: "memberships",
        columns: "memberships.account, memberships.role, environments.id AS environment_id, accounts.name",
        join: "JOIN environments ON environments.row = memberships.environment
            JOIN accounts ON accounts.id = memberships.account",
        row: "memberships.account",
        searched: &["accounts.sorted_name"],
        fields: MEMBER_FIELDS,
        has_removed: false,
    };

    pub(in crate::store) const KEYS: Self = Self {
        table: "keys",
        columns: row_mapping::KEY_COLUMNS,
        join: row_mapping::KEY_JOINS,
        row: "keys.id",
        searched: &["keys.sorted_name", "keys.description", "keys.access_key"],
        fields: KEY_FIELDS,
        has_removed: true,
    };

    pub(in crate::store) const ACCOUNTS: Self = Self {
        table: "accounts",
        columns: "accounts.*",
        join: "",
        row: "accounts.id",
        searched: &["accounts.sorted_name", "accounts.description"],
        fields: ACCOUNT_FIELDS,
        has_removed: true,
    };

    pub(in crate::store) const ENVIRONMENTS: Self = Self {
        table: "environments",
        columns: "environments.*",
        join: "",
        row: "environments.row",
        searched: &["environments.id", "environments.sorted_name", "environments.description"],
        fields: ENVIRONMENT_FIELDS,
        has_removed: true,
    };

    pub(in crate::store) const AUDIT: Self = Self {
        table: "audit",
        columns: "audit.*",
        join: "",
        row: "audit.id",
        searched: &["audit.object", "audit.actor", "audit.access_key"],
        fields: AUDIT_FIELDS,
        has_removed: false,
    };
}
