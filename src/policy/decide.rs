//! Who may do what: the decision table, as a pure function.

use std::fmt;

use http::Method;

use super::methods::is_safe;
use super::route::{Class, EnvironmentName, Routed};
use crate::config::{Access, AccessControl, AccountAccess, EnvironmentKeyAccess};
use crate::model::{Environment, EnvironmentId, Owner, Principal, Role};

/// What the directory knows of the environment that a request names. [`Default`]: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EnvironmentFacts {
    /// Whether there is an environment with exactly this id.
    pub known: bool,
    /// Whether it is active.
    pub active: bool,
}

/// All that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Inquiry<'a> {
    /// Who asks; none for a request without credentials.
    pub principal: Option<&'a Principal>,
    /// Whether requests without credentials are refused on this listener.
    pub access_control: AccessControl,
    /// The method.
    pub method: &'a Method,
    /// Whether the request asks for a tunnel (`Upgrade`, or extended CONNECT).
    pub upgrade: bool,
    /// What the path is, selectors applied.
    pub routed: &'a Routed<'a, 'a>,
    /// The second path of a COPY or MOVE.
    pub destination: Option<Destination<'a>>,
    /// Of the environment that the class names, or else the class of the destination; none is the same as unknown.
    pub environment: Option<EnvironmentFacts>,
}

/// The second path of a request, which its method writes to.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'a> {
    /// It is this under the routes, selectors applied.
    Routed(Routed<'a, 'a>),
    /// No route leads there.
    NoRoute,
}

/// The permission to forward one request. Only [`decide`] makes it.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    principal: Option<&'a Principal>,
    environment: Option<&'a str>,
    role: Option<&'static str>,
    rule: Rule,
}

impl<'a> Grant<'a> {
    /// Whose identity the upstream is told; none for public paths and requests without credentials.
    pub fn principal(&self) -> Option<&'a Principal> {
        self.principal
    }

    /// The known environment that the request is in; an environment key's own everywhere (`X-API-Project-Id`).
    pub fn environment(&self) -> Option<&'a str> {
        self.environment
    }

    /// The principal's role there, or its account's kind outside environments (`X-API-Roles`).
    pub fn role(&self) -> Option<&'static str> {
        self.role
    }

    /// The rule that made the decision.
    pub fn rule(&self) -> Rule {
        self.rule
    }
}

/// The refusal of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct Denial {
    /// What the client is told.
    pub status: DenialStatus,
    /// The rule that made the decision.
    pub rule: Rule,
}

/// The status of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialStatus {
    /// 401: nobody who could be asked about.
    Unauthenticated,
    /// 403: known, and not permitted.
    Forbidden,
}

/// The rule that made a decision, one for each cell of the table; its text is what `explain` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each rule's text, just below, is its documentation")]
pub enum Rule {
    PublicPath,
    AccessControlDisabled,
    NoKey,
    KeyDoesNotWork,
    AmbiguousEnvironment,
    TwoEnvironments,
    InactiveEnvironment,
    Admin,
    UnknownEnvironment,
    SharedReading,
    SharedWritingByEnvironmentKey,
    OwnEnvironment,
    OtherEnvironment,
    OutsideEnvironmentByEnvironmentKey,
    OutsideAsOwnEnvironment,
    Owner,
    Member,
    ReadonlyReading,
    ReadonlyWriting,
    OwnerOnly,
    NotAMember,
    AccountAllowed,
    AccountDenied,
    DestinationUnderAnotherRoute,
}

impl Rule {
    /// The rule as a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PublicPath => "public paths need no key",
            Self::AccessControlDisabled => {
                "access control is disabled, and requests without credentials pass"
            }
            Self::NoKey => "this path needs a key",
            Self::KeyDoesNotWork => "the key, or the account or environment it belongs to, is not active",
            Self::AmbiguousEnvironment => {
                "some servers read this environment id without its dots, so nobody may use it"
            }
            Self::TwoEnvironments => "the request names two environments",
            Self::InactiveEnvironment => "an inactive environment is closed to every key",
            Self::Admin => "keys of admin accounts reach everything",
            Self::UnknownEnvironment => {
                "only admins reach environments that the store does not know in this spelling"
            }
            Self::SharedReading => "every key may read shared paths",
            Self::SharedWritingByEnvironmentKey => "environment keys may only read shared paths",
            Self::OwnEnvironment => "an environment key reaches its own environment",
            Self::OtherEnvironment => "an environment key reaches no environment but its own",
            Self::OutsideEnvironmentByEnvironmentKey => {
                "an environment key reaches nothing outside its environment but shared paths"
            }
            Self::OutsideAsOwnEnvironment => {
                "the route counts what lies outside environments as an environment key's own environment \
                 ('environment_key: own_environment')"
            }
            Self::Owner => "owners reach everything in their environment",
            Self::Member => "members reach their environment",
            Self::ReadonlyReading => "readonly members may read in their environment",
            Self::ReadonlyWriting => "readonly members may not write",
            Self::OwnerOnly => "only owners and admins may write here",
            Self::NotAMember => "the account is not a member of this environment",
            Self::AccountAllowed => {
                "the route lets user accounts reach what lies outside environments ('account: allow')"
            }
            Self::AccountDenied => {
                "the route lets only admins reach what lies outside environments ('account: deny')"
            }
            Self::DestinationUnderAnotherRoute => {
                "'Destination' names a path of another route, or of none: an upstream reads it as one of its own"
            }
        }
    }

    /// The rule as a client is told it. Whether an environment exists, or is inactive, is for those alone who reach it.
    pub fn for_clients(self) -> &'static str {
        match self {
            Self::AmbiguousEnvironment
            | Self::InactiveEnvironment
            | Self::UnknownEnvironment
            | Self::OtherEnvironment
            | Self::NotAMember => "the key does not reach this environment",
            rule => rule.as_str(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decides one request. 401 comes before 403.
///
/// A second path must lie under the same route. It must not lie in another environment than the first: nobody's key
/// reaches from one to the other, since the upstream is told one environment and one role. And the key must be allowed
/// to write there.
pub fn decide<'a>(inquiry: &Inquiry<'a>) -> Result<Grant<'a>, Denial> {
    let grant = decide_path(inquiry)?;
    let second = match inquiry.destination {
        None => return Ok(grant),
        Some(Destination::Routed(second)) if second.index == inquiry.routed.index => second,
        Some(_) => return Err(forbidden(Rule::DestinationUnderAnotherRoute)),
    };
    if let (Class::Environment(from), Class::Environment(to)) = (inquiry.routed.class, second.class)
        && from != to
    {
        return Err(forbidden(Rule::TwoEnvironments));
    }
    decide_path(&Inquiry { method: &WRITING, upgrade: false, routed: &second, ..*inquiry })?;
    Ok(grant)
}

/// Any method that writes.
static WRITING: Method = Method::PUT;

fn decide_path<'a>(inquiry: &Inquiry<'a>) -> Result<Grant<'a>, Denial> {
    let routed = inquiry.routed;
    if routed.needs_no_key(inquiry.method) {
        return Ok(Grant { principal: None, environment: None, role: None, rule: Rule::PublicPath });
    }
    let closed = match routed.class {
        Class::Environment(EnvironmentName::Ambiguous) => Some(Rule::AmbiguousEnvironment),
        Class::Environment(EnvironmentName::Contradicted) => Some(Rule::TwoEnvironments),
        _ => None,
    };
    let Some(principal) = inquiry.principal else {
        return match inquiry.access_control {
            AccessControl::Enabled => Err(unauthenticated(Rule::NoKey)),
            AccessControl::Disabled => match closed {
                Some(rule) => Err(forbidden(rule)),
                None => Ok(Grant {
                    principal: None,
                    environment: None,
                    role: None,
                    rule: Rule::AccessControlDisabled,
                }),
            },
        };
    };
    if !principal.is_active() {
        return Err(unauthenticated(Rule::KeyDoesNotWork));
    }
    if let Some(rule) = closed {
        return Err(forbidden(rule));
    }
    let facts = inquiry.environment.unwrap_or_default();
    let place = match routed.class {
        Class::Environment(EnvironmentName::Named(_)) if facts.known && !facts.active => {
            return Err(forbidden(Rule::InactiveEnvironment));
        }
        Class::Environment(EnvironmentName::Named(id)) if facts.known => Place::Environment(id),
        Class::Environment(_) => Place::UnknownEnvironment,
        Class::Shared if is_reading(inquiry) => Place::SharedReading,
        Class::Shared => Place::SharedWriting,
        Class::Account | Class::Public => Place::Account,
    };
    let rule = match &principal.owner {
        _ if principal.is_admin() => Rule::Admin,
        Owner::Account { .. } => account_rule(inquiry, principal, place)?,
        Owner::Environment(environment) => environment_key_rule(inquiry, &environment.id, place)?,
    };
    let (environment, acting_as) = identity(principal, place);
    Ok(Grant { principal: Some(principal), environment, role: Some(acting_as), rule })
}

/// A column of the table.
#[derive(Clone, Copy)]
enum Place<'a> {
    SharedReading,
    SharedWriting,
    Environment(&'a str),
    UnknownEnvironment,
    Account,
}

/// The table's row for user accounts.
fn account_rule(inquiry: &Inquiry<'_>, principal: &Principal, place: Place<'_>) -> Result<Rule, Denial> {
    let environment = match place {
        Place::SharedReading => return Ok(Rule::SharedReading),
        Place::SharedWriting | Place::Account => return outside_environments(inquiry.routed),
        Place::UnknownEnvironment => return Err(forbidden(Rule::UnknownEnvironment)),
        Place::Environment(id) => id,
    };
    let role = principal.role_in(environment).ok_or(forbidden(Rule::NotAMember))?;
    match (role, is_reading(inquiry)) {
        (Role::Owner, _) => Ok(Rule::Owner),
        (Role::Readonly, true) => Ok(Rule::ReadonlyReading),
        (Role::Readonly, false) => Err(forbidden(Rule::ReadonlyWriting)),
        (Role::Member | Role::Restricted, false) if inquiry.routed.owner_only => {
            Err(forbidden(Rule::OwnerOnly))
        }
        (Role::Member | Role::Restricted, _) => Ok(Rule::Member),
    }
}

fn outside_environments(routed: &Routed<'_, '_>) -> Result<Rule, Denial> {
    match &routed.route.access {
        Access::Keys(access) if access.account == AccountAccess::Allow => Ok(Rule::AccountAllowed),
        Access::Keys(_) | Access::Public { .. } => Err(forbidden(Rule::AccountDenied)),
    }
}

/// The table's rows for environment keys.
fn environment_key_rule(
    inquiry: &Inquiry<'_>,
    own: &EnvironmentId,
    place: Place<'_>,
) -> Result<Rule, Denial> {
    match place {
        Place::SharedReading => Ok(Rule::SharedReading),
        Place::SharedWriting => Err(forbidden(Rule::SharedWritingByEnvironmentKey)),
        Place::Account if !counts_as_own_environment(inquiry.routed) => {
            Err(forbidden(Rule::OutsideEnvironmentByEnvironmentKey))
        }
        Place::UnknownEnvironment => Err(forbidden(Rule::UnknownEnvironment)),
        Place::Environment(id) if id != own.as_str() => Err(forbidden(Rule::OtherEnvironment)),
        Place::Environment(_) | Place::Account if inquiry.routed.owner_only && !is_reading(inquiry) => {
            Err(forbidden(Rule::OwnerOnly))
        }
        Place::Environment(_) => Ok(Rule::OwnEnvironment),
        Place::Account => Ok(Rule::OutsideAsOwnEnvironment),
    }
}

fn counts_as_own_environment(routed: &Routed<'_, '_>) -> bool {
    match &routed.route.access {
        Access::Keys(access) => access.environment_key == EnvironmentKeyAccess::OwnEnvironment,
        Access::Public { .. } => false,
    }
}

/// The environment and the role that the upstream is told.
fn identity<'a>(principal: &'a Principal, place: Place<'a>) -> (Option<&'a str>, &'static str) {
    match (&principal.owner, place) {
        (Owner::Environment(Environment { id, .. }), _) => (Some(id.as_str()), "project"),
        (Owner::Account { .. }, Place::Environment(id)) => {
            // admins need no membership
            let role = principal.role_in(id).filter(|_| !principal.is_admin()).unwrap_or(Role::Owner);
            (Some(id), role.as_str())
        }
        (Owner::Account { account, .. }, _) => (None, account.kind.as_str()),
    }
}

/// Reading is a safe method without a tunnel; a tunnel reads only where the route says so.
fn is_reading(inquiry: &Inquiry<'_>) -> bool {
    if inquiry.upgrade {
        inquiry.routed.readonly_upgrade && matches!(*inquiry.method, Method::GET | Method::CONNECT)
    } else {
        is_safe(inquiry.method)
    }
}

fn unauthenticated(rule: Rule) -> Denial {
    Denial { status: DenialStatus::Unauthenticated, rule }
}

fn forbidden(rule: Rule) -> Denial {
    Denial { status: DenialStatus::Forbidden, rule }
}

#[cfg(test)]
mod tests;
