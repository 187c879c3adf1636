//! Selectors: query parameters and headers by which clients choose an environment, and parameters that override the
//! method.
//!
//! The query decides nothing else. Names are compared as lenient servers do. A parameter that only such a server takes for
//! a selector is refused: the gateway would decide about one environment, and the upstream act in another.

use super::route::{ClassReason, EnvironmentName, PathClass, Routed};
use super::{lax_form, unicode_fold, work_counter};
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
    /// It is there, and `Connection` names it: it is not for the upstream.
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

/// Applies the selectors of the route.
///
/// On a path without an environment they make the class `environment(that id)`; beside one in the path they must name
/// the same. `header` looks up a header by its lower-case name; it must count every header whose name equals it once
/// bytes outside `[a-z0-9]` are turned into `-`, since some upstreams do not tell these apart.
pub fn apply_selectors<'t, 'p>(
    routed: Routed<'t, 'p>,
    query: Option<&'p [u8]>,
    header: &dyn Fn(&str) -> HeaderValues<'p>,
) -> Result<Routed<'t, 'p>, SelectorRefusal> {
    let Access::Keys(access) = &routed.route.access else { return Ok(routed) };
    let mut routed = routed;
    let overrides = &access.method_override.query;
    let selectors = &access.selectors.query;
    if let Some(query) = query.filter(|_| !overrides.is_empty() || !selectors.is_empty()) {
        routed = select_by_query(routed, query, selectors, overrides)?;
    }
    for name in &access.selectors.headers {
        let value = match header(name.as_str()) {
            HeaderValues::Absent => continue,
            HeaderValues::One(value) => value,
            HeaderValues::Many => return Err(REPEATED),
            HeaderValues::Withheld => return Err(WITHHELD),
        };
        routed = choose(routed, value, ClassReason::Selector("header", name.as_str()))?;
    }
    Ok(routed)
}

fn choose<'t, 'p>(
    routed: Routed<'t, 'p>,
    value: &'p [u8],
    class_reason: ClassReason<'t>,
) -> Result<Routed<'t, 'p>, SelectorRefusal> {
    let id = match std::str::from_utf8(value) {
        Ok(id) if EnvironmentId::is_well_formed(value) => id,
        _ => return Err(NO_ID),
    };
    match routed.class {
        PathClass::Environment(EnvironmentName::Named(same)) if same == id => Ok(routed),
        // 403, and so for the decision to say: 401 comes before
        PathClass::Environment(_) => Ok(Routed {
            class: PathClass::Environment(EnvironmentName::Contradicted),
            class_reason,
            ..routed
        }),
        _ => Ok(Routed { class: PathClass::Environment(EnvironmentName::Named(id)), class_reason, ..routed }),
    }
}

/// Goes through the query once, whatever the number of names.
fn select_by_query<'t, 'p>(
    mut routed: Routed<'t, 'p>,
    query: &'p [u8],
    selectors: &'t [QueryName],
    overrides: &[QueryName],
) -> Result<Routed<'t, 'p>, SelectorRefusal> {
    let mut found: Vec<&QueryName> = Vec::new();
    let mut reader = NameReader::of_names(selectors.iter().chain(overrides));
    for pair in query.split(|&byte| byte == b'&') {
        work_counter::add(1);
        if pair.is_empty() {
            continue;
        }
        let (spelling, value) = match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        work_counter::add(spelling.len());
        if let Some(name) = selectors.iter().find(|name| name.as_str().as_bytes() == spelling) {
            if found.contains(&name) {
                return Err(REPEATED);
            }
            found.push(name);
            routed = choose(routed, value, ClassReason::Selector("query parameter", name.as_str()))?;
            continue;
        }
        for piece in pair.split(|&byte| byte == b';') {
            let Some(read) = reader.read(piece) else { continue };
            if overrides.iter().any(|name| is_spelling_of(read, name)) {
                return Err(SelectorRefusal::MethodOverride);
            }
            if selectors.iter().any(|name| is_spelling_of(read, name)) {
                return Err(MISSPELT);
            }
        }
    }
    Ok(routed)
}

/// Whether a name that [`NameReader`] has read is this one.
fn is_spelling_of(read: &[u8], name: &QueryName) -> bool {
    let name = name.as_str().as_bytes();
    work_counter::add(1);
    read.len() == name.len() && read.iter().copied().eq(name.iter().copied().map(normal))
}

/// A byte of a name as PHP keeps it, which takes `.` and a space for `_`; in lower case.
fn normal(byte: u8) -> u8 {
    match byte {
        b'.' | b' ' => b'_',
        byte => byte.to_ascii_lowercase(),
    }
}

/// Reads names of parameters as the most lenient reader does: decoded twice, folded, cut at `=`, `&`, `[`, `;` and NUL,
/// with `.`, `+` and spaces taken for `_`, without white space around it. Its buffers are used for all names of a query.
struct NameReader {
    /// How long the names are that are looked for.
    shortest: usize,
    longest: usize,
    once: Vec<u8>,
    twice: Vec<u8>,
    name: Vec<u8>,
}

impl NameReader {
    fn of_names<'n>(names: impl Iterator<Item = &'n QueryName> + Clone) -> Self {
        let lengths = names.map(|name| name.as_str().len());
        let shortest = lengths.clone().min().unwrap_or_default();
        let longest = lengths.max().unwrap_or_default();
        Self { shortest, longest, once: Vec::new(), twice: Vec::new(), name: Vec::new() }
    }

    /// The name in `piece`. `None`: it is none of those that are looked for, whose bytes are ASCII; most are known by a few
    /// bytes.
    fn read(&mut self, piece: &[u8]) -> Option<&[u8]> {
        let end = piece.iter().position(|&byte| byte == b'=').unwrap_or(piece.len());
        let written = &piece[..end];
        if written.len() * unicode_fold::MOST_PER_BYTE < self.shortest {
            return None;
        }
        work_counter::add(written.len());
        self.name.clear();
        if written.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
            if written.len() > self.longest {
                return None;
            }
            self.name.extend(written.iter().map(u8::to_ascii_lowercase));
            return Some(&self.name);
        }
        let Self { longest, once, twice, name, .. } = self;
        let mut decoded = written;
        if written.contains(&b'%') {
            once.clear();
            decode_leniently(written, once);
            decoded = once;
            if decoded.contains(&b'%') {
                twice.clear();
                decode_leniently(once, twice);
                decoded = twice;
            }
        }
        let is_space = |byte: u8| matches!(byte, b' ' | b'+' | b'\t'..=b'\r');
        'text: for chunk in decoded.utf8_chunks() {
            for character in chunk.valid().chars() {
                let (mut is_cut, mut is_ascii) = (false, true);
                unicode_fold::fold_to_ascii(character, |byte| {
                    is_cut |= matches!(byte, b'=' | b'&' | b'[' | b';' | 0);
                    is_ascii &= is_cut || byte != unicode_fold::NON_ASCII;
                    if !(is_cut || name.is_empty() && is_space(byte)) {
                        name.push(byte);
                    }
                });
                let is_too_long = name.len() > *longest && name.last().is_some_and(|&byte| !is_space(byte));
                if !is_ascii || is_too_long {
                    return None;
                }
                if is_cut {
                    break 'text;
                }
            }
            if !chunk.invalid().is_empty() {
                return None;
            }
        }
        let end = name.iter().rposition(|&byte| !is_space(byte)).map_or(0, |at| at + 1);
        for byte in &mut name[..end] {
            *byte = if *byte == b'+' { b'_' } else { normal(*byte) };
        }
        Some(&name[..end])
    }
}

/// Decodes what is an escape and keeps everything else.
fn decode_leniently(text: &[u8], decoded: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        work_counter::add(1);
        let escape = match after {
            [high, low, ..] if byte == b'%' => lax_form::hex(*high).zip(lax_form::hex(*low)),
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
}

#[cfg(test)]
mod tests;
