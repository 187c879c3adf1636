//! `${NAME}` and `${NAME:-default}` in values. It happens after the document was parsed, so what the process
//! environment holds is always one value and never more YAML.

use super::reader::Reader;
use super::yaml::{Node, Text, Value};

/// Replaces the variables in every text of `node`; keys are left alone.
pub(super) fn substitute(reader: &mut Reader<'_>, node: &mut Node) {
    let result = match &mut node.value {
        Value::List(items) => {
            for item in items {
                substitute(reader, item);
            }
            return;
        }
        Value::Map(entries) => {
            for entry in entries {
                substitute(reader, &mut entry.node);
            }
            return;
        }
        Value::Text(Text { text, .. }) if text.contains("${") => expand(text, reader.env),
        _ => return,
    };
    match result {
        Ok(text) => node.value = Value::Text(text),
        Err(message) => {
            reader.error(node, message);
            node.value = Value::Broken;
        }
    }
}

/// `$${` stands for `${` itself; any other `$` for itself.
fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Text, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut substituted = false;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            expanded.push_str(&rest[..at]);
            expanded.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        expanded.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end = inside.find('}').ok_or("'${' has no '}': write '$${' for a literal '${'")?;
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        if !is_name(name) {
            return Err(format!(
                "expected ${{NAME}} or ${{NAME:-default}} with a name of letters, digits and _, found '${{{}}}'",
                inside[..end].escape_debug()
            ));
        }
        if default.is_some_and(|default| default.contains("${")) {
            return Err(format!("the default of ${{{name}}} may not hold another variable"));
        }
        match (env(name), default) {
            // as in a shell, `:-` counts an empty variable as unset
            (Some(value), None) => expanded.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => expanded.push_str(&value),
            (_, Some(default)) => expanded.push_str(default),
            (None, None) => {
                return Err(format!(
                    "the environment variable {name} is not set: set it, or write ${{{name}:-default}}"
                ));
            }
        }
        substituted = true;
        rest = &inside[end + 1..];
    }
    expanded.push_str(rest);
    Ok(Text { text: expanded, substituted })
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let env = |name: &str| match name {
            "PORT" => Some("8080".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${PORT}".to_owned()),
            _ => None,
        };
        expand(text, &env).map(|text| text.text)
    }

    #[test]
    fn variables_are_replaced_once() {
        for (text, expected) in [
            ("${PORT}", "8080"),
            ("a${PORT}b${PORT}", "a8080b8080"),
            ("${NONE:-x}${PORT:-x}", "x8080"),
            ("${EMPTY}|${EMPTY:-x}|${NONE:-}", "|x|"),
            ("${NESTED}", "${PORT}"),
            ("$${PORT} $PORT $", "${PORT} $PORT $"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_refused() {
        for (text, expected) in [
            ("${NONE}", "NONE is not set"),
            ("${PORT", "has no '}'"),
            ("${1A}", "expected ${NAME}"),
            ("${}", "expected ${NAME}"),
            ("${A B}", "expected ${NAME}"),
            ("${NONE:-${PORT}}", "may not hold another variable"),
        ] {
            let message = expanded(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
