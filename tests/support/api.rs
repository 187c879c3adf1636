//! The management API, as a client with one key uses it.

use serde_json::{Value, json};

use super::cli::Key;
use super::gateway::Gateway;
use super::http1::{Client, Request, Response};

/// A client of a gateway's management API.
#[derive(Debug)]
pub struct Api<'a> {
    pub gateway: &'a Gateway,
    pub key: Key,
}

impl<'a> Api<'a> {
    pub fn new(gateway: &'a Gateway, key: &Key) -> Self {
        Self { gateway, key: key.clone() }
    }

    /// The same gateway with the first admin account's key.
    pub fn admin(gateway: &'a Gateway) -> Self {
        Self::new(gateway, &gateway.admin)
    }

    /// A request with the key, to be added to.
    pub fn request(&self, method: &str, target: &str) -> Request {
        request(self.gateway, method, target).key(&self.key)
    }

    /// Sends bytes on a connection of their own, and reads one answer.
    #[track_caller]
    pub fn send(&self, request: impl AsRef<[u8]>) -> Response {
        exchange(self.gateway, request)
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(self.request("GET", target).end())
    }

    /// A document that must be there.
    #[track_caller]
    pub fn document(&self, target: &str) -> Value {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "GET {target}: {answer:?}");
        answer.json()
    }

    /// Sends a JSON body, without a Content-Type as Rancher's Python clients do.
    #[track_caller]
    pub fn write(&self, method: &str, target: &str, body: &Value) -> Response {
        self.send(self.request(method, target).body(body.to_string()))
    }

    #[track_caller]
    pub fn post(&self, target: &str, body: &Value) -> Response {
        self.write("POST", target, body)
    }

    #[track_caller]
    pub fn put(&self, target: &str, body: &Value) -> Response {
        self.write("PUT", target, body)
    }

    #[track_caller]
    pub fn delete(&self, target: &str) -> Response {
        self.send(self.request("DELETE", target).end())
    }

    /// Runs an action.
    #[track_caller]
    pub fn act(&self, resource: &str, action: &str) -> Response {
        self.post(&format!("{resource}/?action={action}"), &json!({}))
    }

    /// Makes a resource, which must succeed.
    #[track_caller]
    pub fn create(&self, target: &str, body: &Value) -> Value {
        let answer = self.post(target, body);
        assert_eq!(answer.status, 201, "POST {target} {body}: {answer:?}");
        answer.json()
    }

    /// Makes a key, which must succeed.
    #[track_caller]
    pub fn create_key(&self, target: &str, body: &Value) -> Key {
        key_in(&self.create(target, body))
    }

    /// The ids of what a list holds.
    #[track_caller]
    pub fn ids(&self, target: &str) -> Vec<String> {
        ids(&self.document(target))
    }
}

/// A request without a key, for the name that the management listener is known by.
pub fn request(gateway: &Gateway, method: &str, target: &str) -> Request {
    Request::without_host(method, target).header("Host", gateway.management().to_string())
}

/// Sends bytes to a gateway's management listener, and reads one answer.
#[track_caller]
pub fn exchange(gateway: &Gateway, request: impl AsRef<[u8]>) -> Response {
    let request = request.as_ref();
    let mut client = Client::connect(gateway.management());
    client.send(request);
    client.read_answer_to(request)
}

/// The ids of the documents in a collection.
pub fn ids(collection: &Value) -> Vec<String> {
    let items = collection["data"].as_array().unwrap_or_else(|| panic!("no collection: {collection}"));
    items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

/// The pair in the answer to a key's creation.
#[track_caller]
pub fn key_in(document: &Value) -> Key {
    let text =
        |field: &str| document[field].as_str().unwrap_or_else(|| panic!("no {field}: {document}")).to_owned();
    Key { id: text("id"), access_key: text("publicValue"), secret: text("secretValue") }
}

/// The target of a URL that the API gave: what stands behind the host.
#[track_caller]
pub fn target_of(url: &Value) -> String {
    let url = url.as_str().unwrap_or_else(|| panic!("no URL: {url}"));
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("no URL: {url}"));
    rest[rest.find('/').expect("a path")..].to_owned()
}
