//! What every request to the management listener needs: the operations, the sessions, and what the configuration says.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::health::Health;
use super::operations::Operations;
use super::session::Sessions;
use super::settings::Settings;
use crate::auth::Authenticator;
use crate::telemetry::RequestHistory;

/// The management plane's state.
pub struct Management {
    pub(super) operations: Operations,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) health: Health,
    pub(super) sessions: Sessions,
    /// The proxy's requests of the last hour, by outcome.
    pub(super) history: Arc<RequestHistory>,
    settings: ArcSwap<Settings>,
}

impl std::fmt::Debug for Management {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Management")
    }
}

impl Management {
    /// The state at the gateway's start.
    pub fn new(
        operations: Operations,
        authenticator: Arc<Authenticator>,
        health: Health,
        history: Arc<RequestHistory>,
        settings: Settings,
    ) -> Self {
        let sessions = Sessions::default();
        operations.set_environments_per_user(settings.environments_per_user);
        operations.set_lifetimes(settings.lifetimes.clone());
        let settings = ArcSwap::from_pointee(settings);
        Self { operations, authenticator, health, sessions, history, settings }
    }

    /// Takes over the settings of a reloaded configuration.
    pub fn reload(&self, settings: Settings) {
        self.operations.set_list_bounds(settings.lists);
        self.operations.set_environments_per_user(settings.environments_per_user);
        self.operations.set_lifetimes(settings.lifetimes.clone());
        self.settings.store(Arc::new(settings));
    }

    /// The settings of the newest configuration.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }
}
