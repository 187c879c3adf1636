//! `cors:` of a route: which sites' scripts may call it, and what they may see.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use http::{HeaderName, Method};

use super::AcceptedCredentials;
use super::reader::Reader;
use super::routes::{distinct, read_header_name, read_method};
use super::yaml::Node;

/// How the gateway speaks to browsers for a route (the Fetch standard's CORS protocol).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Origins as browsers send them, compared byte for byte, or `*`.
    pub origins: Vec<String>,
    /// Methods that scripts of these origins may use.
    pub methods: Vec<Method>,
    /// Headers that they may send.
    pub headers: Vec<HeaderName>,
    /// Headers of the answer that they may read, besides the few that they always may.
    pub expose_headers: Vec<HeaderName>,
    /// Whether a browser may send what it keeps itself: a key typed into its own prompt, cookies.
    pub allow_credentials: bool,
    /// How long browsers may remember the answer to a preflight.
    pub max_age: Duration,
}

impl Cors {
    /// Whether scripts of every site may call the route.
    pub fn allows_every_origin(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }
}

/// Reads the section.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, accepted: &AcceptedCredentials) -> Option<Cors> {
    let section = reader.section(
        node,
        &["origins", "methods", "headers", "expose_headers", "allow_credentials", "max_age"],
    )?;
    let mut cors = Cors {
        origins: Vec::new(),
        methods: vec![Method::GET, Method::HEAD, Method::POST],
        headers: accepted.header_names().chain([http::header::CONTENT_TYPE]).collect(),
        expose_headers: Vec::new(),
        allow_credentials: true,
        max_age: Duration::from_mins(10),
    };
    reader.set(&mut cors.methods, section.get("methods"), |reader, node| {
        distinct(reader, node, "a list of methods such as [GET, POST]", read_method)
    });
    reader.set(&mut cors.headers, section.get("headers"), read_names);
    reader.set(&mut cors.expose_headers, section.get("expose_headers"), read_names);
    reader.set(&mut cors.max_age, section.get("max_age"), |reader, node| {
        reader.duration(node, Duration::ZERO..=Duration::from_hours(24))
    });
    let origins = reader.required(&section, "origins")?;
    cors.origins = distinct(reader, origins, "a list of origins", read_origin)?;
    let allows_every = cors.allows_every_origin();
    cors.allow_credentials = !allows_every;
    reader.set(&mut cors.allow_credentials, section.get("allow_credentials"), |reader, node| {
        let allowed = reader.word(node, &[("true", true), ("false", false)])?;
        if allowed && allows_every {
            reader.error(
                node,
                "has no meaning beside the origin '*': browsers refuse the two together, so list the origins",
            );
        }
        Some(allowed)
    });
    Some(cors)
}

fn read_names(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<HeaderName>> {
    distinct(reader, node, "a list of header names", |reader, node| {
        let name = read_header_name(reader, node)?;
        if name.as_str() == "*" {
            reader.error(
                node,
                "'*' stands for no header where browsers send keys or cookies, and never for Authorization: list the names",
            );
        }
        Some(name)
    })
}

fn read_origin(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let expected = "an origin as browsers send it, such as https://console.example.com, or '*'";
    let text = reader.text(node, expected)?;
    if text == "*" || is_origin(text) {
        return Some(text.to_owned());
    }
    if text.contains('*') {
        let why = "origins are compared whole, and '*' within one stands for nothing: list each origin, or '*' alone for all";
        reader.error(node, format!("'{text}' matches no origin: {why}"));
        return None;
    }
    reader.unexpected(node, expected)
}

/// Scheme, host and port in the one spelling that browsers use (RFC 6454 §6.2): any other would never be met.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    // a colon within brackets is the address's
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| {
        port.parse::<u16>().is_ok_and(|number| number != usual && number > 0 && number.to_string() == port)
    };
    is_host(host) && port.is_none_or(is_port)
}

/// A name in lower case, or an address in its shortest form.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let is_name = name.split('.').all(|label| !label.is_empty() && label.bytes().all(is_plain));
    // browsers read a name that ends with a number as an IPv4 address
    let ends_with_number =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    is_name && (!ends_with_number || host.parse::<Ipv4Addr>().is_ok())
}
