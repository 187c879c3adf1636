//! Who may do what: the decision table, as a pure function.

use std::fmt;

use http::Method;

use super::methods::is_safe;
use super::route::{EnvironmentName, PathClass, Routed};
use crate::config::{Access, AccessControl, AccountAccess, EnvironmentKeyAccess};
use crate::model::{Environment, EnvironmentId, Owner, Principal, Role, Scope};

/// What is known of the environment that a request names. [`Default`]: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EnvironmentStatus {
    /// Whether there is an environment with exactly this id.
    pub known: bool,
    /// Whether it is active.
    pub active: bool,
}

/// All that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct DecisionInput<'a> {
    /// Who asks. `None` for a request without credentials.
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
    pub destination: Option<WebDavDestination<'a>>,
    /// Of the environment that the class names, or else that of the destination. `None` counts as unknown.
    pub environment: Option<EnvironmentStatus>,
}

/// The second path of a request, which its method writes to.
#[derive(Debug, Clone, Copy)]
pub enum WebDavDestination<'a> {
    /// It lies under a route; selectors are applied.
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
    /// Whose identity the upstream is told. `None` for public paths and requests without credentials.
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
    /// 401: the caller is not known.
    Unauthenticated,
    /// 403: the caller is known, and not permitted.
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
    ReadOnlyKey,
    OutsideKeysMethods,
    OutsideKeysPaths,
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
            Self::ReadOnlyKey => "the key's scope lets it only read",
            Self::OutsideKeysMethods => "the method is outside the key's scope",
            Self::OutsideKeysPaths => "the path is outside the key's scope",
        }
    }

    /// The rule as a client is told it. Only callers who reach an environment learn whether it exists or is inactive.
    pub fn client_message(self) -> &'static str {
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
/// A second path must lie under the same route. It must not lie in another environment than the first, since the upstream
/// is told one environment and one role. And the key must be allowed to write there. The key's scope is asked last, and
/// only takes away: for both paths, and for the method.
pub fn decide<'a>(input: &DecisionInput<'a>) -> Result<Grant<'a>, Denial> {
    let grant = decide_path(input, input.method)?;
    let second = match input.destination {
        None => return Ok(grant),
        Some(WebDavDestination::Routed(second)) if second.index == input.routed.index => second,
        Some(_) => return Err(forbidden(Rule::DestinationUnderAnotherRoute)),
    };
    if let (PathClass::Environment(from), PathClass::Environment(to)) = (input.routed.class, second.class)
        && from != to
    {
        return Err(forbidden(Rule::TwoEnvironments));
    }
    let writing = DecisionInput { method: &WRITING, upgrade: false, routed: &second, ..*input };
    decide_path(&writing, input.method)?;
    Ok(grant)
}

/// Any method that writes.
static WRITING: Method = Method::PUT;

/// Decides about one path. `sent` is the method that the client has sent.
fn decide_path<'a>(input: &DecisionInput<'a>, sent: &Method) -> Result<Grant<'a>, Denial> {
    let routed = input.routed;
    if routed.needs_no_key(input.method) {
        return Ok(Grant { principal: None, environment: None, role: None, rule: Rule::PublicPath });
    }
    let closed = match routed.class {
        PathClass::Environment(EnvironmentName::Ambiguous) => Some(Rule::AmbiguousEnvironment),
        PathClass::Environment(EnvironmentName::Contradicted) => Some(Rule::TwoEnvironments),
        _ => None,
    };
    let Some(principal) = input.principal else {
        return match input.access_control {
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
    let status = input.environment.unwrap_or_default();
    let kind = match routed.class {
        PathClass::Environment(EnvironmentName::Named(_)) if status.known && !status.active => {
            return Err(forbidden(Rule::InactiveEnvironment));
        }
        PathClass::Environment(EnvironmentName::Named(id)) if status.known => PathKind::Environment(id),
        PathClass::Environment(_) => PathKind::UnknownEnvironment,
        PathClass::Shared if is_reading(input) => PathKind::SharedReading,
        PathClass::Shared => PathKind::SharedWriting,
        PathClass::Account | PathClass::Public => PathKind::Account,
    };
    let rule = match &principal.owner {
        _ if principal.is_admin() => Rule::Admin,
        Owner::Account { .. } => account_rule(input, principal, kind)?,
        Owner::Environment(environment) => environment_key_rule(input, &environment.id, kind)?,
    };
    if let Some(scope) = &principal.key.scope {
        stay_within(scope, input, sent)?;
    }
    let (environment, acting_as) = identity(principal, kind);
    Ok(Grant { principal: Some(principal), environment, role: Some(acting_as), rule })
}

/// Refuses what lies outside the key's scope.
fn stay_within(scope: &Scope, input: &DecisionInput<'_>, sent: &Method) -> Result<(), Denial> {
    if scope.is_read_only() && !is_reading(input) {
        return Err(forbidden(Rule::ReadOnlyKey));
    }
    // a WebSocket over HTTP/2 is the GET of one over HTTP/1.1 (RFC 8441 §5)
    let method = if *sent == Method::CONNECT { &Method::GET } else { sent };
    if !scope.has_method(method) {
        return Err(forbidden(Rule::OutsideKeysMethods));
    }
    if !scope.has_path(input.routed.path) {
        return Err(forbidden(Rule::OutsideKeysPaths));
    }
    Ok(())
}

/// A column of the decision table: what kind of path it is.
#[derive(Clone, Copy)]
enum PathKind<'a> {
    SharedReading,
    SharedWriting,
    Environment(&'a str),
    UnknownEnvironment,
    Account,
}

/// The row of the decision table for user accounts.
fn account_rule(
    input: &DecisionInput<'_>,
    principal: &Principal,
    kind: PathKind<'_>,
) -> Result<Rule, Denial> {
    let environment = match kind {
        PathKind::SharedReading => return Ok(Rule::SharedReading),
        PathKind::SharedWriting | PathKind::Account => return outside_environments(input.routed),
        PathKind::UnknownEnvironment => return Err(forbidden(Rule::UnknownEnvironment)),
        PathKind::Environment(id) => id,
    };
    let role = principal.role_in(environment).ok_or(forbidden(Rule::NotAMember))?;
    match (role, is_reading(input)) {
        (Role::Owner, _) => Ok(Rule::Owner),
        (Role::Readonly, true) => Ok(Rule::ReadonlyReading),
        (Role::Readonly, false) => Err(forbidden(Rule::ReadonlyWriting)),
        (Role::Member | Role::Restricted, false) if input.routed.owner_only => {
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

/// The rows of the decision table for environment keys.
fn environment_key_rule(
    input: &DecisionInput<'_>,
    own: &EnvironmentId,
    kind: PathKind<'_>,
) -> Result<Rule, Denial> {
    match kind {
        PathKind::SharedReading => Ok(Rule::SharedReading),
        PathKind::SharedWriting => Err(forbidden(Rule::SharedWritingByEnvironmentKey)),
        PathKind::Account if !counts_as_own_environment(input.routed) => {
            Err(forbidden(Rule::OutsideEnvironmentByEnvironmentKey))
        }
        PathKind::UnknownEnvironment => Err(forbidden(Rule::UnknownEnvironment)),
        PathKind::Environment(id) if id != own.as_str() => Err(forbidden(Rule::OtherEnvironment)),
        PathKind::Environment(_) | PathKind::Account if input.routed.owner_only && !is_reading(input) => {
            Err(forbidden(Rule::OwnerOnly))
        }
        PathKind::Environment(_) => Ok(Rule::OwnEnvironment),
        PathKind::Account => Ok(Rule::OutsideAsOwnEnvironment),
    }
}

fn counts_as_own_environment(routed: &Routed<'_, '_>) -> bool {
    match &routed.route.access {
        Access::Keys(access) => access.environment_key == EnvironmentKeyAccess::OwnEnvironment,
        Access::Public { .. } => false,
    }
}

/// The environment and the role that the upstream is told.
fn identity<'a>(principal: &'a Principal, kind: PathKind<'a>) -> (Option<&'a str>, &'static str) {
    match (&principal.owner, kind) {
        (Owner::Environment(Environment { id, .. }), _) => (Some(id.as_str()), "project"),
        (Owner::Account { .. }, PathKind::Environment(id)) => {
            // admins need no membership
            let role = principal.role_in(id).filter(|_| !principal.is_admin()).unwrap_or(Role::Owner);
            (Some(id), role.as_str())
        }
        (Owner::Account { account, .. }, _) => (None, account.kind.as_str()),
    }
}

/// Reading is a safe method without a tunnel; a tunnel reads only where the route says so.
fn is_reading(input: &DecisionInput<'_>) -> bool {
    if input.upgrade {
        input.routed.readonly_upgrade && matches!(*input.method, Method::GET | Method::CONNECT)
    } else {
        is_safe(input.method)
    }
}

fn unauthenticated(rule: Rule) -> Denial {
    Denial { status: DenialStatus::Unauthenticated, rule }
}

fn forbidden(rule: Rule) -> Denial {
    Denial { status: DenialStatus::Forbidden, rule }
}

#[cfg(test)]
mod scope_tests;
#[cfg(test)]
mod tests;
