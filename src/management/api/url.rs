//! URLs of the API.

use crate::management::request::Request;
use crate::model::EnvironmentId;

/// The path that the API begins with.
pub(super) const ROOT: &str = "/v2-beta";

/// What URLs begin with, up to the segment of the type; inside an environment if one is given.
pub(super) fn url_prefix(request: &Request, environment: Option<&EnvironmentId>) -> String {
    let base = request.base_url();
    match environment {
        Some(id) => format!("{base}{ROOT}/projects/{id}"),
        None => format!("{base}{ROOT}"),
    }
}
