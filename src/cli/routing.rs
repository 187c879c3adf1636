//! The routes of a configuration, put together: what `check` prints and `explain` asks.

use crate::config::{Config, ConfigError, ConfigErrors};
use crate::policy::RouteTable;

/// Puts the routes together; what they may not do in each other's company is told at the routes' places.
pub(super) fn route_table(config: &Config) -> Result<RouteTable, ConfigErrors> {
    RouteTable::new(&config.routes).map_err(|problems| {
        let mut errors: Vec<_> = problems
            .into_iter()
            .map(|problem| ConfigError {
                file: config.file.clone(),
                line: problem.place.line,
                column: problem.place.column,
                path: format!("route {}", problem.path),
                message: problem.problem.to_string(),
            })
            .collect();
        errors.sort_by_key(|error| (error.line, error.column));
        ConfigErrors(errors)
    })
}
