//! What a form sends, and whether it belongs to the session.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use super::super::refusal::Refusal;
use super::super::session::Session;
use crate::model::{Description, Name, TextError};

/// The fields of all forms that people type into, and the revision that an edit began with.
const TYPED_FIELDS: [&str; 12] = [
    "name",
    "description",
    "id",
    "kind",
    "role",
    "externalId",
    "expires",
    "read_only",
    "methods",
    "paths",
    "networks",
    "revision",
];

/// The fields of a form, wiped when dropped: one of them may be a secret.
pub(super) struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Reads a body of `application/x-www-form-urlencoded`. Anything is such a body, if an odd one.
    pub(super) fn read(body: &[u8]) -> Self {
        let fields = form_urlencoded::parse(body);
        Self(fields.map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned()))).collect())
    }

    /// The value of a field; empty where it is absent or given twice.
    pub(super) fn value(&self, name: &str) -> &str {
        let mut values = self.0.iter().filter(|(found, _)| found == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value,
            _ => "",
        }
    }

    /// All values of a field that may be given several times.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A text as it was typed: browsers end its lines with CR LF.
    pub(super) fn lines(&self, name: &str) -> String {
        self.value(name).replace("\r\n", "\n")
    }

    /// The name, if it can be one.
    pub(super) fn name(&self) -> Result<Option<Name>, TextError> {
        Name::parse(self.value("name"))
    }

    /// The description, if it can be one.
    pub(super) fn description(&self) -> Result<Option<Description>, TextError> {
        Description::parse(&self.lines("description"))
    }

    /// What was typed into it that is worth keeping while somebody signs in again; empty: nothing. Never a secret.
    pub(super) fn typed(&self, prefix: &str) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        for name in TYPED_FIELDS {
            let field = format!("{prefix}{name}");
            if self.0.iter().any(|(found, _)| *found == field) {
                fields.push((name.to_owned(), self.lines(&field)));
            }
        }
        let is_typed = fields.iter().any(|(name, value)| name != "revision" && !value.is_empty());
        if is_typed { fields } else { Vec::new() }
    }

    /// Refuses a form that does not carry the session's token: another site's page cannot know it.
    pub(super) fn verify_csrf_token(&self, session: &Session) -> Result<(), Refusal> {
        let given = self.value("form_token").as_bytes();
        verify_slices_are_equal(given, session.csrf_token.as_bytes()).map_err(|_| {
            forged("The form does not belong to this session. Open the page again and repeat what you did.")
        })
    }
}

fn forged(detail: &str) -> Refusal {
    Refusal::Forbidden { detail: Some(detail.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_given_twice_is_none() {
        let form = Form::read(b"a=1&b=2&a=3&c=x%0D%0Ay");
        assert_eq!((form.value("a"), form.value("b"), form.value("d")), ("", "2", ""));
        assert_eq!(form.lines("c"), "x\ny");
    }
}
