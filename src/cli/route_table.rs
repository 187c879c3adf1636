//! The routes of a configuration, put together: what `check` prints and `explain` asks.

use crate::config::{Config, ConfigError, ConfigErrors, FilePosition};
use crate::policy::RouteTable;
use crate::proxy::{UNUSABLE_CREDENTIAL_HEADER, selectors_not_forwarded, unusable_credential_headers};

/// Puts the routes together; what they may not do in each other's company is told at the routes' positions.
pub(super) fn route_table(config: &Config) -> Result<RouteTable, ConfigErrors> {
    let mistake = |position: FilePosition, path: &str, message| ConfigError {
        file: config.file.clone(),
        line: position.line,
        column: position.column,
        path: format!("route {path}"),
        message,
    };
    let mut errors: Vec<_> = selectors_not_forwarded(config)
        .map(|(route, name)| {
            let why = "cannot select an environment: the gateway removes this header";
            mistake(route.position, &route.path.to_string(), format!("'{name}' {why}"))
        })
        .collect();
    errors.extend(unusable_credential_headers(config).map(|header| ConfigError {
        path: "authentication.accept".to_owned(),
        ..mistake(header.position, "", format!("'{}' {UNUSABLE_CREDENTIAL_HEADER}", header.name))
    }));
    match RouteTable::new(&config.routes) {
        Ok(table) if errors.is_empty() => return Ok(table),
        Ok(_) => {}
        Err(problems) => errors.extend(
            problems
                .into_iter()
                .map(|problem| mistake(problem.position, &problem.path, problem.problem.to_string())),
        ),
    }
    errors.sort_by_key(|error| (error.line, error.column));
    Err(ConfigErrors(errors))
}
