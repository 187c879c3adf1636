//! Environments: parts of the upstream's resources, each named by one path segment.

use jiff::Timestamp;

use super::{Description, EnvironmentId, Name, State};

/// A part of the upstream's resources (API type `project`, as in Rancher).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The path segment that stands for it.
    pub id: EnvironmentId,
    /// What operators call it.
    pub name: Option<Name>,
    /// Free text.
    pub description: Option<Description>,
    /// An inactive environment is closed to every key, and its own keys do not work.
    pub state: State,
    /// A random UUID.
    pub uuid: String,
    /// When it was created.
    pub created: Timestamp,
    /// When it was removed.
    pub removed: Option<Timestamp>,
}
