//! What there is one of, and always the same: the API's version, and the template of environments.

use serde_json::{Map, Value, json};

use super::api_request::ApiRequest;
use super::query;
use super::types::Type;
use crate::management::resource_json::TEMPLATE_ID;

pub(super) const VERSION_ID: &str = "v2-beta";
const TEMPLATE_NAME: &str = "Cattle";

impl ApiRequest<'_> {
    /// `apiVersion`: where everything begins.
    pub(super) fn version(&self) -> Value {
        let prefix = self.top();
        let mut links = Map::new();
        for kind in Type::ALL.into_iter().filter(|kind| kind.methods(self.audience).is_some()) {
            let plural = kind.plural();
            links.insert(plural.to_owned(), format!("{prefix}/{}", plural.to_ascii_lowercase()).into());
        }
        links.insert("self".to_owned(), prefix.into());
        json!({ "id": VERSION_ID, "type": "apiVersion", "baseType": "apiVersion", "links": links, "actions": {} })
    }

    /// The templates that the query asks for: there is one, and clients look for others by their names.
    pub(super) fn templates(&self) -> Vec<Value> {
        let is_other = |name: &str| !name.eq_ignore_ascii_case(TEMPLATE_NAME);
        let mut wanted = query::pairs(self.request.query()).filter(|(name, _)| name == "name");
        if wanted.any(|(_, name)| is_other(&name)) { Vec::new() } else { vec![self.template()] }
    }

    /// The one template that environments are made from.
    pub(super) fn template(&self) -> Value {
        let url = format!("{}/projecttemplates/{TEMPLATE_ID}", self.top());
        json!({
            "id": TEMPLATE_ID,
            "type": "projectTemplate",
            "baseType": "projectTemplate",
            "links": { "self": url },
            "actions": {},
            "name": TEMPLATE_NAME,
            "description": "What Rancher's command line asks for; every environment is alike here",
        })
    }
}
