//! What there is one of, and always the same: the API's version, and the template of environments.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::types::Type;

pub(super) const VERSION_ID: &str = "v2-beta";
pub(super) const TEMPLATE_ID: &str = "1pt1";

impl Call<'_> {
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

    /// The one template that environments are made from: they have nothing of their own to choose.
    pub(super) fn template(&self) -> Value {
        let url = format!("{}/projecttemplates/{TEMPLATE_ID}", self.top());
        json!({
            "id": TEMPLATE_ID,
            "type": "projectTemplate",
            "baseType": "projectTemplate",
            "links": { "self": url },
            "actions": {},
            "name": "Cattle",
            "description": "What Rancher's command line asks for; every environment is alike here",
        })
    }
}
