//! The fields that a request sets: in a JSON object, a form, or the query, where the body comes first. Fields that are
//! unknown, or that the caller may not set, are no error: Rancher's clients send back all that they got.

use serde::Deserialize as _;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::query::parameters;
use crate::management::refusal::Refusal;
use crate::management::request::Request;
use crate::model::{Description, Name, Scope, ScopeError, ScopeFields, TextError, WantedEnd};
use crate::store::{Edit, ExpectedRevision};

/// Parameters of the query that are no fields.
const NOT_FIELDS: [&str; 2] = ["action", "confirm"];

/// The fields of a request.
pub(super) struct Input {
    fields: Map<String, Value>,
    secret: Option<Zeroizing<String>>,
}

impl Input {
    /// Reads a request.
    pub(super) fn read(request: &Request) -> Result<Self, Refusal> {
        let mut fields: Map<String, Value> = parameters(request.query())
            .filter(|(name, _)| !NOT_FIELDS.contains(&name.as_str()))
            .map(|(name, value)| (name, Value::String(value)))
            .collect();
        let body = &request.body;
        let is_form = request.header("content-type").is_some_and(|value| {
            value.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
        });
        if body.is_empty() {
            // a body is optional
        } else if is_form && !body.trim_ascii_start().starts_with(b"{") {
            // but for JSON: curl calls it a form too when it comes from -d
            let text = std::str::from_utf8(body).map_err(|_| unreadable("the form is not UTF-8"))?;
            fields.extend(parameters(text).map(|(name, value)| (name, Value::String(value))));
        } else {
            match serde_json::from_slice(body) {
                Ok(Value::Object(object)) => fields.extend(object),
                Ok(_) => return Err(unreadable("the body is JSON, but no object")),
                Err(error) => return Err(unreadable(&format!("the body is no JSON object: {error}"))),
            }
        }
        let secret = match fields.remove("secretValue") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(Zeroizing::new(text)),
            Some(_) => return Err(wrong_type("secretValue")),
        };
        Ok(Self { fields, secret })
    }

    /// A text. Absent, null and empty are `None`.
    pub(super) fn text(&self, field: &'static str) -> Result<Option<&str>, Refusal> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(field)),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, field: &'static str) -> Result<&str, Refusal> {
        self.text(field)?
            .ok_or_else(|| Refusal::invalid("MissingRequired", field, format!("'{field}' is needed")))
    }

    /// The name, as new resources have it.
    pub(super) fn name(&self) -> Result<Option<Name>, Refusal> {
        let Some(text) = self.text("name")? else { return Ok(None) };
        // at its ends too, where parsing would trim them as blanks
        if text.chars().any(char::is_control) {
            return Err(refuse_text("name", &TextError::Control { what: "name" }));
        }
        Name::parse(text).map_err(|error| refuse_text("name", &error))
    }

    /// The description, as new resources have it.
    pub(super) fn description(&self) -> Result<Option<Description>, Refusal> {
        let Some(text) = self.text("description")? else { return Ok(None) };
        Description::parse(text).map_err(|error| refuse_text("description", &error))
    }

    /// The edit: absent fields stay, null and empty ones are removed.
    pub(super) fn edit(&self) -> Result<Edit, Refusal> {
        Ok(Edit {
            name: if self.has("name") { Some(self.name()?) } else { None },
            description: if self.has("description") { Some(self.description()?) } else { None },
            expected: ExpectedRevision::Any,
        })
    }

    /// When something is to end, if that is said; null and empty are never.
    pub(super) fn end(&self, field: &'static str) -> Result<Option<WantedEnd>, Refusal> {
        if !self.has(field) {
            return Ok(None);
        }
        let Some(text) = self.text(field)? else { return Ok(Some(WantedEnd::Never)) };
        let time = text.parse().map_err(|_| {
            let detail =
                format!("'{field}' is no time: write it as in 2027-01-31T12:00:00Z, or null for never");
            Refusal::invalid("InvalidDateFormat", field, detail)
        })?;
        Ok(Some(WantedEnd::At(time)))
    }

    /// Whether something is said of a field.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// What a key may do. Absent and null are all that its owner may.
    pub(super) fn scope(&self, field: &'static str) -> Result<Option<Scope>, Refusal> {
        let fields = match self.fields.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(value @ Value::Object(_)) => ScopeFields::deserialize(value),
            Some(_) => return Err(wrong_type(field)),
        };
        let fields = fields.map_err(|error| ScopeError::Json(error.to_string()));
        let scope = fields.and_then(|fields| Scope::new(&fields));
        scope.map_err(|error| {
            let code = match error {
                ScopeError::TooMany { .. } => "MaxLimitExceeded",
                _ => "InvalidFormat",
            };
            Refusal::invalid(code, field, error.to_string())
        })
    }

    /// Takes the secret that the caller chose.
    pub(super) fn take_secret(&mut self) -> Option<Zeroizing<String>> {
        self.secret.take()
    }

    /// A list. Absent and null are `None`.
    pub(super) fn list(&self, field: &'static str) -> Result<Option<&[Value]>, Refusal> {
        match self.fields.get(field) {
            Some(Value::Array(items)) => Ok(Some(items)),
            None | Some(Value::Null) => Ok(None),
            Some(_) => Err(wrong_type(field)),
        }
    }
}

fn unreadable(detail: &str) -> Refusal {
    Refusal::BadRequest { code: "InvalidBodyContent", field: None, detail: detail.to_owned() }
}

pub(super) fn wrong_type(field: &'static str) -> Refusal {
    Refusal::BadRequest {
        code: "InvalidFormat",
        field: Some(field),
        detail: format!("'{field}' has another type: see the schema"),
    }
}

fn refuse_text(field: &'static str, error: &TextError) -> Refusal {
    let detail = error.to_string();
    match error {
        TextError::TooLong { .. } => Refusal::too_long(field, detail),
        TextError::Control { .. } => Refusal::invalid("InvalidCharacters", field, detail),
    }
}
