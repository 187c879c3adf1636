//! The API's types: what they are called, which fields they have, and who may do what with them. The router, the
//! schemas and the `OpenAPI` document are all made from this.

use super::super::operations::{Caller, Operations};
use crate::model::{EnvironmentId, Role};
use crate::store::{ACCOUNT_FIELDS, AUDIT_FIELDS, ENVIRONMENT_FIELDS, Field, KEY_FIELDS, MEMBER_FIELDS};

/// A type of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::management) enum Type {
    /// A key.
    ApiKey,
    /// An account.
    Account,
    /// An environment.
    Project,
    /// An account's role in an environment.
    ProjectMember,
    /// What environments are made from in Rancher: its command line asks for one before it creates an environment.
    ProjectTemplate,
    /// A row of the audit log.
    AuditLog,
    /// What a type looks like for the caller.
    Schema,
    /// The API itself.
    ApiVersion,
}

/// Who looks, as far as types differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::management) enum Audience {
    /// An admin account's key, anywhere.
    Admin,
    /// A user account's key, outside environments.
    User,
    /// The same, where users make environments.
    Creator,
    /// A user account's key, inside an environment that the account owns.
    Owner,
    /// The same, inside one where it is a member or restricted.
    Member,
    /// The same, inside one where it only reads.
    Readonly,
    /// An environment's key.
    EnvironmentKey,
}

impl Audience {
    /// Every audience.
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] = [
        Self::Admin,
        Self::User,
        Self::Creator,
        Self::Owner,
        Self::Member,
        Self::Readonly,
        Self::EnvironmentKey,
    ];

    /// What a caller is, inside `context` where there is one.
    pub(super) fn of(operations: &Operations, caller: &Caller, context: Option<&EnvironmentId>) -> Self {
        if caller.is_admin() {
            return Self::Admin;
        }
        if caller.account().is_none() {
            return Self::EnvironmentKey;
        }
        match context.map(|id| caller.role_in(id)) {
            None if operations.may_create_environments(caller) => Self::Creator,
            None => Self::User,
            Some(Some(Role::Owner)) => Self::Owner,
            Some(Some(Role::Member | Role::Restricted)) => Self::Member,
            Some(Some(Role::Readonly) | None) => Self::Readonly,
        }
    }
}

/// What can be done with a type's collection and with one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::management) struct Methods {
    /// On the collection, in Rancher's order.
    pub(in crate::management) collection: &'static [&'static str],
    /// On one resource, in Rancher's order.
    pub(in crate::management) resource: &'static [&'static str],
}

const ALL: Methods = Methods { collection: &["GET", "POST"], resource: &["GET", "PUT", "DELETE"] };
const CHANGE: Methods = Methods { collection: &["GET"], resource: &["GET", "PUT", "DELETE"] };
const READ: Methods = Methods { collection: &["GET"], resource: &["GET"] };

impl Type {
    /// Every type, in the order of the alphabet.
    pub(in crate::management) const ALL: [Self; 8] = [
        Self::Account,
        Self::ApiKey,
        Self::ApiVersion,
        Self::AuditLog,
        Self::Project,
        Self::ProjectMember,
        Self::ProjectTemplate,
        Self::Schema,
    ];

    /// The type with this name, in any case, in singular or plural.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name) || kind.plural().eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub(in crate::management) fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKey",
            Self::Account => "account",
            Self::Project => "project",
            Self::ProjectMember => "projectMember",
            Self::ProjectTemplate => "projectTemplate",
            Self::AuditLog => "auditLog",
            Self::Schema => "schema",
            Self::ApiVersion => "apiVersion",
        }
    }

    /// The name of many.
    pub(in crate::management) fn plural(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKeys",
            Self::Account => "accounts",
            Self::Project => "projects",
            Self::ProjectMember => "projectMembers",
            Self::ProjectTemplate => "projectTemplates",
            Self::AuditLog => "auditLogs",
            Self::Schema => "schemas",
            Self::ApiVersion => "apiVersions",
        }
    }

    /// What an audience may do with it; `None`: it does not know of it.
    pub(in crate::management) fn methods(self, audience: Audience) -> Option<Methods> {
        use Audience::{Admin, Creator, EnvironmentKey, Member, Owner, Readonly, User};
        match (self, audience) {
            (Self::ApiKey | Self::ProjectMember, Admin | User | Creator | Owner)
            | (Self::Account, Admin)
            | (Self::Project, Admin | Creator) => Some(ALL),
            // users change the environments that they own
            (Self::Project, User | Owner) => Some(CHANGE),
            (Self::ApiKey | Self::ProjectMember, Readonly)
            | (Self::AuditLog, User | Creator | Owner | Member | Readonly | EnvironmentKey) => None,
            (Self::ApiKey | Self::ProjectMember, Member | EnvironmentKey)
            | (Self::AuditLog, Admin)
            | (Self::Account | Self::Project | Self::ProjectTemplate | Self::Schema | Self::ApiVersion, _) => {
                Some(READ)
            }
        }
    }

    /// Whether it is also found beneath an environment, where only what is the environment's is seen. Everything else
    /// is the same from everywhere, and found in one place only.
    pub(in crate::management) fn is_seen_through_environments(self) -> bool {
        matches!(self, Self::ApiKey | Self::ProjectMember | Self::Schema)
    }

    /// The actions that an audience's resources may offer.
    pub(in crate::management) fn actions(self, audience: Audience) -> &'static [&'static str] {
        let may_change = self.methods(audience).is_some_and(|methods| methods.resource.contains(&"PUT"));
        match self {
            Self::ApiKey | Self::Account if may_change => &["activate", "deactivate", "remove", "update"],
            Self::Project if may_change => &["activate", "deactivate", "remove", "setmembers", "update"],
            _ => &[],
        }
    }

    /// By which fields its collections are filtered and sorted.
    pub(in crate::management) fn listed_by(self) -> &'static [Field] {
        match self {
            Self::ApiKey => KEY_FIELDS,
            Self::Account => ACCOUNT_FIELDS,
            Self::Project => ENVIRONMENT_FIELDS,
            Self::ProjectMember => MEMBER_FIELDS,
            Self::AuditLog => AUDIT_FIELDS,
            Self::ProjectTemplate | Self::Schema | Self::ApiVersion => &[],
        }
    }

    /// Its fields, in the order of the alphabet.
    pub(in crate::management) fn fields(self) -> Vec<FieldSpec> {
        let mut fields = match self {
            Self::ApiKey => vec![
                text("accountId", "reference[account]").made_by(Who::Admins),
                text("ownerType", "enum").one_of(&["account", "project"]),
                text("publicValue", "string").at_most(4096).made_by(Who::Admins),
                text("secretValue", "password")
                    .at_most(4096)
                    .nullable()
                    .made_by(Who::Admins)
                    .shown_at_creation(),
                text("lastUsed", "date").nullable(),
                text("lastUsedAddress", "string").nullable(),
                text("useCount", "int"),
            ],
            Self::ProjectMember => vec![
                text("projectId", "reference[project]").made_by(Who::Everyone),
                text("externalId", "string").made_by(Who::Everyone).required(),
                text("externalIdType", "string").made_by(Who::Everyone),
                text("role", "enum")
                    .one_of(&["owner", "member", "restricted", "readonly"])
                    .made_by(Who::Everyone)
                    .changed()
                    .required(),
                text("name", "string"),
                text("state", "string"),
            ],
            Self::ProjectTemplate => vec![text("name", "string"), text("description", "string").nullable()],
            Self::AuditLog => vec![
                text("created", "date"),
                text("via", "enum").one_of(&["command", "api", "page"]),
                text("accountId", "string"),
                text("accessKey", "string").nullable(),
                text("clientIp", "string").nullable(),
                text("requestId", "string").nullable(),
                text("action", "string"),
                text("resourceType", "enum").one_of(&["account", "apiKey", "project", "projectMember"]),
                text("resourceId", "string"),
                text("outcome", "enum").one_of(&["done", "refused"]),
                text("reason", "string").nullable(),
                text("changeNumber", "int").nullable(),
                text("before", "map[json]").nullable(),
                text("after", "map[json]").nullable(),
            ],
            Self::Schema => vec![
                text("pluralName", "string"),
                text("collectionMethods", "array[string]"),
                text("resourceMethods", "array[string]"),
                text("resourceFields", "map[json]"),
                text("resourceActions", "map[json]"),
                text("collectionFields", "map[json]"),
                text("collectionActions", "map[json]"),
                text("collectionFilters", "map[json]"),
                text("includeableLinks", "array[string]"),
            ],
            Self::Project => vec![
                text("healthState", "string"),
                text("members", "array[projectMember]").nullable().made_by(Who::Everyone),
                text("orchestration", "string"),
                text("projectTemplateId", "reference[projectTemplate]").nullable().made_by(Who::Everyone),
            ],
            // what they have is what all of them have
            Self::Account | Self::ApiVersion => vec![],
        };
        if let Self::ApiKey | Self::Account | Self::Project = self {
            let (name, kind) = (
                text("name", "string").at_most(255).made_by(Who::Everyone).changed(),
                text("kind", "string"),
            );
            fields.extend([
                if self == Self::Account { name.required() } else { name.nullable() },
                if self == Self::Account {
                    kind.one_of(&["admin", "user"]).made_by(Who::Admins)
                } else {
                    kind
                },
                text("description", "string").at_most(1024).nullable().made_by(Who::Everyone).changed(),
                text("state", "enum").one_of(STATES),
                text("uuid", "string").at_most(128),
                text("created", "date"),
                text("removed", "date").nullable(),
                text("transitioning", "enum").one_of(&["yes", "no", "error"]),
                text("transitioningMessage", "string").nullable(),
                text("transitioningProgress", "int").nullable(),
            ]);
        }
        let id = text("id", "string");
        // an environment's id is the operator's own word; everything else gets one
        fields.push(if self == Self::Project { id.at_most(64).made_by(Who::Admins) } else { id });
        fields.sort_by_key(|field| field.name);
        fields
    }
}

const STATES: &[&str] = &["active", "activating", "deactivating", "inactive", "removed", "removing"];

/// Who may set a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::management) enum Who {
    /// It is the gateway's own.
    Nobody,
    /// Admins; what others say is ignored.
    Admins,
    /// Whoever may make or change the resource.
    Everyone,
}

/// A field of a type.
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a schema's own flags, each with its name in Rancher's documents"
)]
pub(in crate::management) struct FieldSpec {
    pub(in crate::management) name: &'static str,
    /// In Rancher's words.
    pub(in crate::management) kind: &'static str,
    pub(in crate::management) nullable: bool,
    pub(in crate::management) required: bool,
    /// In characters.
    pub(in crate::management) max_length: Option<usize>,
    pub(in crate::management) options: Option<&'static [&'static str]>,
    pub(in crate::management) create: Who,
    pub(in crate::management) update: bool,
    pub(in crate::management) only_at_creation: bool,
}

fn text(name: &'static str, kind: &'static str) -> FieldSpec {
    FieldSpec {
        name,
        kind,
        nullable: false,
        required: false,
        max_length: None,
        options: None,
        create: Who::Nobody,
        update: false,
        only_at_creation: false,
    }
}

impl FieldSpec {
    fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    fn required(self) -> Self {
        Self { required: true, ..self }
    }

    fn at_most(self, characters: usize) -> Self {
        Self { max_length: Some(characters), ..self }
    }

    fn one_of(self, options: &'static [&'static str]) -> Self {
        Self { kind: "enum", options: Some(options), ..self }
    }

    fn made_by(self, who: Who) -> Self {
        Self { create: who, ..self }
    }

    fn changed(self) -> Self {
        Self { update: true, ..self }
    }

    fn shown_at_creation(self) -> Self {
        Self { only_at_creation: true, ..self }
    }

    /// Whether an audience may set it in a new resource.
    pub(in crate::management) fn is_created_by(&self, audience: Audience) -> bool {
        match self.create {
            Who::Nobody => false,
            Who::Admins => audience == Audience::Admin,
            Who::Everyone => true,
        }
    }
}
