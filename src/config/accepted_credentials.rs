//! `authentication.accept:`, where a client's credential may stand in a request.

use http::HeaderName;

use super::FilePosition;
use super::reader::Reader;
use super::routes::read_header_name;
use super::yaml::{Node, Value};

/// Where a client's credential may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedCredentials {
    /// `Authorization: Basic` (RFC 7617).
    pub basic: bool,
    /// `Authorization: Bearer` and the pair as it is.
    pub bearer: bool,
    /// Headers that hold the pair as it is.
    pub headers: Vec<CredentialHeader>,
}

/// A header that holds a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialHeader {
    /// Its name as the configuration spells it.
    pub name: String,
    /// Where the configuration names it.
    pub position: FilePosition,
}

impl Default for AcceptedCredentials {
    fn default() -> Self {
        Self { basic: true, bearer: false, headers: Vec::new() }
    }
}

impl AcceptedCredentials {
    /// The request headers in which a credential may stand.
    pub fn header_names(&self) -> impl Iterator<Item = HeaderName> {
        let authorization = (self.basic || self.bearer).then_some(http::header::AUTHORIZATION);
        // a name was read as one
        authorization.into_iter().chain(self.headers.iter().filter_map(|header| header.name.parse().ok()))
    }

    /// Each place in words: `HTTP Basic`, `Authorization: Bearer`, `X-API-Key`.
    pub fn described(&self) -> impl Iterator<Item = &str> {
        let schemes = [self.basic.then_some("HTTP Basic"), self.bearer.then_some("Authorization: Bearer")];
        schemes.into_iter().flatten().chain(self.headers.iter().map(|header| header.name.as_str()))
    }
}

/// Reads the list.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<AcceptedCredentials> {
    let expected = "a list of basic, bearer and { header: NAME }, such as [basic, { header: X-API-Key }]";
    let items = reader.list(node, expected)?;
    let mut accepted = AcceptedCredentials { basic: false, bearer: false, headers: Vec::new() };
    if items.is_empty() {
        return reader.unexpected(node, expected);
    }
    for item in items {
        let is_repeated = if matches!(item.value, Value::Map(_)) {
            let Some(header) = read_header(reader, item) else { continue };
            let same = |known: &CredentialHeader| known.name.eq_ignore_ascii_case(&header.name);
            let is_repeated = accepted.headers.iter().any(same);
            accepted.headers.push(header);
            is_repeated
        } else {
            let Some(is_basic) = reader.word(item, &[("basic", true), ("bearer", false)]) else { continue };
            let place = if is_basic { &mut accepted.basic } else { &mut accepted.bearer };
            std::mem::replace(place, true)
        };
        if is_repeated {
            reader.error(item, "given twice in this list");
        }
    }
    Some(accepted)
}

fn read_header(reader: &mut Reader<'_>, node: &Node) -> Option<CredentialHeader> {
    let section = reader.section(node, &["header"])?;
    let name_node = reader.required(&section, "header")?;
    let name = read_header_name(reader, name_node)?;
    // servers behind take other characters for a hyphen: one name is to have one spelling
    if !name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return reader.unexpected(name_node, "the name of a header, of letters, digits and hyphens");
    }
    let name = reader.text(name_node, "the name of a header")?.to_owned();
    Some(CredentialHeader { name, position: name_node.position })
}
