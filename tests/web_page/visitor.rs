//! A visitor of the page: what a browser does with cookies and forms, and nothing of its own accord.

use std::cell::RefCell;
use std::net::Ipv4Addr;

use crate::support::cli::Key;
use crate::support::gateway::Gateway;
use crate::support::http1::{Client, Request, Response, fresh_source};

/// Somebody with a cookie jar, at an address of their own.
pub struct Visitor<'a> {
    pub gateway: &'a Gateway,
    source: Ipv4Addr,
    cookie: RefCell<Option<String>>,
}

impl<'a> Visitor<'a> {
    pub fn new(gateway: &'a Gateway) -> Self {
        Self { gateway, source: fresh_source(), cookie: RefCell::default() }
    }

    /// A visitor who has signed in.
    #[track_caller]
    pub fn signed_in(gateway: &'a Gateway, key: &Key) -> Self {
        let visitor = Self::new(gateway);
        let answer = visitor.sign_in(key);
        assert_eq!((answer.status, answer.header("Location").as_deref()), (303, Some("/")), "{answer:?}");
        visitor
    }

    /// A request that carries the cookie, to be added to.
    pub fn request(&self, method: &str, target: &str) -> Request {
        let request = Request::without_host(method, target).header("Host", self.host());
        match &*self.cookie.borrow() {
            Some(cookie) => request.header("Cookie", cookie),
            None => request,
        }
    }

    pub fn host(&self) -> String {
        self.gateway.management().to_string()
    }

    /// Sends bytes, reads the answer, keeps its cookie.
    #[track_caller]
    pub fn send(&self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        let mut client = Client::connect_from(self.source, self.gateway.management());
        client.send(request);
        let answer = client.read_answer_to(request);
        if let Some(cookie) = answer.header("Set-Cookie") {
            let pair = cookie.split(';').next().unwrap().to_owned();
            *self.cookie.borrow_mut() = Some(pair).filter(|pair| !pair.ends_with('='));
        }
        answer
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(self.request("GET", target).end())
    }

    /// A page that must be there.
    #[track_caller]
    pub fn page(&self, target: &str) -> String {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "GET {target}: {answer:?}");
        answer.text()
    }

    /// Sends fields as they are, without a form token.
    #[track_caller]
    pub fn post_bare(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.send(self.form(target, fields))
    }

    /// Sends a form of the page at `target`, as a browser does: with its hidden fields, and where it comes from.
    #[track_caller]
    pub fn post(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        let token = self.form_token();
        self.post_bare(target, &[&[("form_token", token.as_str())], fields].concat())
    }

    /// The bytes of a form that comes from a page of the listener's own.
    pub fn form(&self, target: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        self.request("POST", target)
            .header("Origin", format!("http://{}", self.host()))
            .header("Sec-Fetch-Site", "same-origin")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(encoded(fields))
    }

    /// The session's form token, as the pages show it.
    #[track_caller]
    pub fn form_token(&self) -> String {
        let page = self.page("/keys");
        value_of(&page, "form_token").unwrap_or_else(|| panic!("no form token in\n{page}"))
    }

    #[track_caller]
    pub fn sign_in(&self, key: &Key) -> Response {
        self.post_bare("/sign-in", &[("access_key", &key.access_key), ("secret_key", &key.secret)])
    }

    pub fn cookie(&self) -> Option<String> {
        self.cookie.borrow().clone()
    }

    pub fn set_cookie(&self, cookie: &str) {
        *self.cookie.borrow_mut() = Some(cookie.to_owned());
    }

    /// Makes a key with the form, and gives it as the page shows it.
    #[track_caller]
    pub fn create_key(&self, owner: &str, name: &str) -> Key {
        let answer = self.post(&format!("/keys/new?{owner}"), &[("name", name), ("description", "")]);
        assert_eq!(answer.status, 303, "{answer:?}");
        let location = answer.header("Location").unwrap();
        let id = location.split('/').nth(2).unwrap().to_owned();
        let page = self.page(&location);
        Key { id, access_key: text_of(&page, "access-key"), secret: text_of(&page, "secret-key") }
    }
}

pub fn encoded(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The value of the first hidden field with this name.
pub fn value_of(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split('"').next()?.to_owned())
}

/// The text in the element with this id.
#[track_caller]
pub fn text_of(page: &str, id: &str) -> String {
    let found = page.split_once(&format!("id=\"{id}\"")).and_then(|(_, rest)| {
        let (_, rest) = rest.split_once('>')?;
        rest.split('<').next()
    });
    found.unwrap_or_else(|| panic!("no element '{id}' in\n{page}")).to_owned()
}

/// The row of a list for an object.
pub fn row_of<'a>(page: &'a str, id: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("data-id=\"{id}\""))?;
    rest.split("</tr>").next()
}
