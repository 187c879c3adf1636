//! The fields of a form that narrow a key.

use super::super::refusal::Refusal;
use super::form::Form;
use super::form_page::{Field, Input};
use crate::model::{ApiKey, Scope, ScopeError, ScopeFields, ScopePath};

/// One of them: its name, its label, its hint, and whether it has several lines.
const LISTS: [(&str, &str, &str, Input); 3] = [
    (
        "methods",
        "Methods",
        "The only methods that it may use, such as GET HEAD. Empty: all",
        Input::Line { longest: Scope::MAX_METHODS * 33 },
    ),
    (
        "paths",
        "Paths",
        "The only paths that it may reach, one in each line. * is one segment, /** at the end is all that lies beneath: \
         /v1/projects/*/builds/**. Empty: all",
        Input::Lines { longest: Scope::MAX_PATHS * (ScopePath::MAX_BYTES + 1) },
    ),
    (
        "networks",
        "Networks",
        "The only networks or addresses that it may be used from, one in each line, such as 10.0.0.0/8. Empty: all",
        Input::Lines { longest: Scope::MAX_NETWORKS * 50 },
    ),
];

const READ_ONLY: &str = "read_only";

/// What a key may do, in words.
pub(super) fn in_words(key: &ApiKey) -> String {
    match &key.scope {
        None => "All that its owner can do".to_owned(),
        Some(scope) => format!("What its owner may, but {}", scope.restrictions().join("; ")),
    }
}

/// The fields, filled in with a scope.
pub(super) fn fields(scope: Option<&Scope>) -> Vec<Field> {
    let ScopeFields { read_only, methods, paths, networks } = scope.map(Scope::fields).unwrap_or_default();
    fill_in(if read_only { "yes" } else { "" }, [methods.join(" "), paths.join("\n"), networks.join("\n")])
}

/// The fields, filled in as they were sent.
pub(super) fn sent_fields(form: &Form) -> Vec<Field> {
    fill_in(form.value(READ_ONLY), LISTS.map(|(name, ..)| form.lines(name)))
}

fn fill_in(read_only: &str, lists: [String; 3]) -> Vec<Field> {
    let choices = vec![("", "Reads and writes"), ("yes", "Only reads")];
    let mut fields = vec![Field::choice(READ_ONLY, "Access", choices, read_only)];
    for ((name, label, hint, input), value) in LISTS.into_iter().zip(lists) {
        fields.push(Field { name, label, input, ..Field::name(value, hint).not_first() });
    }
    fields
}

/// Whether a form has the fields.
pub(super) fn are_in(form: &Form) -> bool {
    let has = |name: &str| form.values(name).next().is_some();
    has(READ_ONLY) || LISTS.iter().any(|(name, ..)| has(name))
}

/// The scope that a form says.
pub(super) fn read(form: &Form) -> Result<Option<Scope>, Refusal> {
    let words = |name: &str| {
        let text = form.value(name);
        text.split([' ', ',', '\n', '\r', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let fields = ScopeFields {
        read_only: form.value(READ_ONLY) == "yes",
        methods: words("methods"),
        paths: words("paths"),
        networks: words("networks"),
    };
    Scope::new(&fields).map_err(|error| {
        let (code, field) = match &error {
            ScopeError::TooMany { what, .. } => ("MaxLimitExceeded", *what),
            ScopeError::Method(_) => ("InvalidFormat", "methods"),
            ScopeError::Path(_) => ("InvalidFormat", "paths"),
            ScopeError::Network(_) | ScopeError::NotTruncated { .. } => ("InvalidFormat", "networks"),
            ScopeError::Json(_) | ScopeError::Empty => ("InvalidFormat", READ_ONLY),
        };
        Refusal::invalid(code, field, error.to_string())
    })
}
