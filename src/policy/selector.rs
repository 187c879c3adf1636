//! Selectors: the upstream's ways to choose an environment other than the path, and its ways to override the method.
//!
//! The query decides nothing but here. Names are compared as lenient readers do; a parameter that only such a reader
//! takes for a selector is refused, since the gateway would judge one environment and the upstream act in another.

use super::lax;
use super::route::{Basis, Class, EnvironmentName, Routed};
use crate::config::{Access, QueryName};
use crate::model::EnvironmentId;

/// The values of one header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderValues<'p> {
    /// The header is not there.
    Absent,
    /// It is there once.
    One(&'p [u8]),
    /// It is there more than once.
    Many,
    /// It is there, and the client says that it is not for the upstream.
    Withheld,
}

/// Why a request's selectors are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectorRefusal {
    /// 400: repeated, misspelt, or no environment id.
    #[error("{0}")]
    Malformed(&'static str),
    /// 400: the parameter would turn the method into another.
    #[error("the query overrides the method")]
    MethodOverride,
}

const REPEATED: SelectorRefusal = SelectorRefusal::Malformed("a selector of the environment is repeated");
const NO_ID: SelectorRefusal =
    SelectorRefusal::Malformed("a selector of the environment holds no environment id");
const WITHHELD: SelectorRefusal =
    SelectorRefusal::Malformed("Connection names a header that selects the environment");
const MISSPELT: SelectorRefusal =
    SelectorRefusal::Malformed("a query parameter is another spelling of a selector of the environment");

/// Lets the selectors of the route have their say.
///
/// On a path without an environment they make the class `environment(that id)`; beside one in the path they must name
/// the same. `header` looks up a header by its lower-case name; it must count every header whose name equals it once
/// bytes outside `[a-z0-9]` are turned into `-`, since some upstreams do not tell these apart.
pub fn select<'t, 'p>(
    routed: Routed<'t, 'p>,
    query: Option<&'p [u8]>,
    header: &dyn Fn(&str) -> HeaderValues<'p>,
) -> Result<Routed<'t, 'p>, SelectorRefusal> {
    let Access::Keys(access) = &routed.route.access else { return Ok(routed) };
    let query = query.unwrap_or_default();
    if access.method_override.query.iter().any(|name| look_up(query, name) != Parameter::Absent) {
        return Err(SelectorRefusal::MethodOverride);
    }

    let mut routed = routed;
    for name in &access.selectors.query {
        let value = match look_up(query, name) {
            Parameter::Absent => continue,
            Parameter::One(value) => value,
            Parameter::Many => return Err(REPEATED),
            Parameter::Misspelt => return Err(MISSPELT),
        };
        routed = choose(routed, value, Basis::Selector("query parameter", name.as_str()))?;
    }
    for name in &access.selectors.headers {
        let value = match header(name.as_str()) {
            HeaderValues::Absent => continue,
            HeaderValues::One(value) => value,
            HeaderValues::Many => return Err(REPEATED),
            HeaderValues::Withheld => return Err(WITHHELD),
        };
        routed = choose(routed, value, Basis::Selector("header", name.as_str()))?;
    }
    Ok(routed)
}

fn choose<'t, 'p>(
    routed: Routed<'t, 'p>,
    value: &'p [u8],
    basis: Basis<'t>,
) -> Result<Routed<'t, 'p>, SelectorRefusal> {
    let id = match std::str::from_utf8(value) {
        Ok(id) if EnvironmentId::is_well_formed(value) => id,
        _ => return Err(NO_ID),
    };
    match routed.class {
        Class::Environment(EnvironmentName::Named(same)) if same == id => Ok(routed),
        // 403, and so for the decision to say: 401 comes before
        Class::Environment(_) => {
            Ok(Routed { class: Class::Environment(EnvironmentName::Contradicted), basis, ..routed })
        }
        _ => Ok(Routed { class: Class::Environment(EnvironmentName::Named(id)), basis, ..routed }),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parameter<'p> {
    Absent,
    One(&'p [u8]),
    Many,
    Misspelt,
}

fn look_up<'p>(query: &'p [u8], name: &QueryName) -> Parameter<'p> {
    let mut found = Parameter::Absent;
    for pair in query.split(|&byte| byte == b'&') {
        let (spelling, value) = match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        if spelling == name.as_str().as_bytes() {
            match found {
                Parameter::Absent => found = Parameter::One(value),
                _ => return Parameter::Many,
            }
        } else if pair.split(|&byte| byte == b';').any(|piece| is_spelling_of(piece, name)) {
            return Parameter::Misspelt;
        }
    }
    found
}

/// Whether a lenient reader takes the name of `pair` for `name`: decoded twice, folded, cut at `=`, `&` and `[`, and
/// with `.`, `+` and space taken for `_` (as PHP does).
fn is_spelling_of(pair: &[u8], name: &QueryName) -> bool {
    let written = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
    // what has no other spelling than upper case needs no allocation
    if written.iter().all(u8::is_ascii_alphanumeric) {
        return written.eq_ignore_ascii_case(name.as_str().as_bytes());
    }
    let decoded = decode_leniently(&decode_leniently(written));
    let folded = lax::fold(String::from_utf8_lossy(&decoded).into_owned());
    let end = folded.find(['=', '&', '[', ';', '\0']).unwrap_or(folded.len());
    let normal = |text: &str| text.replace('+', " ").trim().to_ascii_lowercase().replace(['.', ' '], "_");
    normal(&folded[..end]) == normal(name.as_str())
}

fn decode_leniently(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escape = match after {
            [high, low, ..] if byte == b'%' => lax::hex(*high).zip(lax::hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escape {
            decoded.push(high << 4 | low);
            rest = &after[2..];
        } else {
            decoded.push(byte);
            rest = after;
        }
    }
    decoded
}

#[cfg(test)]
mod tests;
