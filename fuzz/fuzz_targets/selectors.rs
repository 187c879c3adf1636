//! Selectors: a query that some reader takes to choose an environment, or to override the method, is never let through
//! as one that does not.
//!
//! The readings are written down on their own here, with the whole of Unicode's normalization.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::policy::{
    EnvironmentName, HeaderValues, PathClass, RouteTable, admit_target, apply_selectors,
};
use unicode_normalization::UnicodeNormalization;

#[path = "../routes.rs"]
mod routes;

static TABLE: LazyLock<RouteTable> = LazyLock::new(routes::with_selectors);

/// Decodes escapes once; leaves malformed ones.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let escape = match &text[at..] {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        decoded.push(escape.map_or(text[at], |(high, low)| high * 16 + low));
        at += if escape.is_some() { 3 } else { 1 };
    }
    decoded
}

/// The name of a parameter as readers of several kinds have it.
fn readings(written: &[u8]) -> Vec<String> {
    let once = decode(written);
    let twice = decode(&once);
    let mut readings = Vec::new();
    for bytes in [written.to_vec(), once, twice] {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let folded: String = text.nfkc().flat_map(char::to_lowercase).collect();
        for text in [text, folded] {
            let text = text.replace('+', " ");
            let name = text.split(['=', '[', '\0']).next().unwrap_or_default().trim();
            readings.push(name.to_owned());
            readings.push(name.to_ascii_lowercase().replace(['.', ' '], "_"));
        }
    }
    readings
}

fuzz_target!(|query: &[u8]| {
    let target = [b"/v1/x?", query].concat();
    let Ok(admitted) = admit_target(&target) else { return };
    let routed = TABLE.classify(&admitted).expect("a clean path");
    let selected = apply_selectors(routed, admitted.query, &|_| HeaderValues::Absent);
    let names: Vec<String> = query
        .split(|byte| matches!(byte, b'&' | b';'))
        .filter(|pair| !pair.is_empty())
        .flat_map(|pair| readings(pair.split(|&byte| byte == b'=').next().unwrap_or_default()))
        .collect();
    if names.iter().any(|name| name == "_method") {
        assert!(selected.is_err(), "a method override passes");
    }
    if names.iter().any(|name| name.eq_ignore_ascii_case("projectId")) {
        let is_judged = selected
            .map_or(true, |routed| matches!(routed.class, PathClass::Environment(EnvironmentName::Named(_))));
        assert!(is_judged, "a selector is overlooked");
    }
});
