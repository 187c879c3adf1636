//! A page that is a form, or a question: the script opens it as a dialog, and without one it is a page.

use askama::Template;
use http::StatusCode;

use super::super::answer::Answer;
use super::super::flash::NoticeKind;
use super::super::operations::SelfLockout;
use super::super::refusal::Refusal;
use super::form::Form;
use super::page::{Layout, Section, render};
use super::signed_in_request::{SignedInRequest, sentence};
use crate::model::{Description, Name, TextError};
use crate::store::{ChangeNumber, ExpectedRevision};

/// A form on a page of its own.
#[derive(Template)]
#[template(path = "form.html")]
pub(super) struct FormPage {
    layout: Layout,
    /// The id of the form, for tests and scripts.
    pub(super) id: &'static str,
    /// What it asks.
    pub(super) heading: String,
    /// Sentences before the fields.
    pub(super) intro: Vec<String>,
    /// What went wrong with the whole of it.
    pub(super) problem: Option<String>,
    /// What the object is like now, where somebody else has changed it meanwhile.
    pub(super) current: Vec<(&'static str, String)>,
    /// Facts that cannot be edited.
    pub(super) facts: Vec<(&'static str, String)>,
    /// What is filled in.
    pub(super) fields: Vec<Field>,
    /// What is sent along.
    pub(super) hidden: Vec<(&'static str, String)>,
    /// Where it is sent.
    pub(super) action: String,
    /// The word on the button.
    pub(super) submit: &'static str,
    /// Whether what it does cannot be undone, or stops something that works.
    pub(super) is_destructive: bool,
    /// Where it was asked from.
    pub(super) to: String,
    /// What was typed into it before the session ended.
    typed: Option<Vec<(String, String)>>,
}

/// A field of a form.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) input: Input,
    pub(super) value: String,
    pub(super) hint: &'static str,
    /// What is wrong with what was filled in.
    pub(super) problem: Option<String>,
    pub(super) is_first: bool,
    pub(super) is_required: bool,
}

/// How a field is filled in.
pub(super) enum Input {
    /// One line of at most that many characters.
    Line { longest: usize },
    /// One line for which these values are usual: value and label.
    Suggested { longest: usize, usual: Vec<(&'static str, &'static str)> },
    /// Lines of at most that many characters.
    Lines { longest: usize },
    /// One of these: value and label.
    Choice(Vec<(&'static str, &'static str)>),
    /// Ticked or not.
    Tick,
}

impl FormPage {
    /// A form without anything in it.
    pub(super) fn new(
        request: &SignedInRequest<'_>,
        section: Section,
        id: &'static str,
        heading: impl Into<String>,
        submit: &'static str,
        to: String,
    ) -> Self {
        let heading = heading.into();
        Self {
            layout: request.layout(heading.clone(), section),
            id,
            heading,
            intro: Vec::new(),
            problem: None,
            current: Vec::new(),
            facts: Vec::new(),
            fields: Vec::new(),
            hidden: Vec::new(),
            action: request.http.path().to_owned(),
            submit,
            is_destructive: false,
            to,
            typed: request.session.flash.take_typed(&request.url()),
        }
    }

    /// Shows it.
    pub(super) fn show(mut self) -> Answer {
        for (name, value) in self.typed.iter().flatten() {
            if let Some(field) = self.fields.iter_mut().find(|field| field.name == name.as_str()) {
                field.value.clone_from(value);
            }
            if let Some((_, hidden)) = self.hidden.iter_mut().find(|(hidden, _)| *hidden == name.as_str()) {
                hidden.clone_from(value);
            }
        }
        render(StatusCode::OK, &self)
    }

    /// Shows it again, with what is wrong: at the field, where it is one's.
    pub(super) fn show_refused(mut self, refusal: Refusal) -> Result<Answer, Refusal> {
        let status = refusal.status();
        let detail = match &refusal {
            Refusal::Invalid { detail, .. }
            | Refusal::BadRequest { detail, .. }
            | Refusal::PreconditionFailed { detail }
            | Refusal::MethodNotAllowed { detail: Some(detail), .. } => sentence(detail),
            _ => return Err(refusal),
        };
        let field = refusal.field().and_then(|name| self.fields.iter_mut().find(|field| field.name == name));
        match field {
            Some(field) => field.problem = Some(detail),
            None => self.problem = Some(detail),
        }
        if self.fields.iter().any(|field| field.problem.is_some()) {
            // the first wrong field gets the focus
            let first = self.fields.iter().position(|field| field.problem.is_some());
            for (at, field) in self.fields.iter_mut().enumerate() {
                field.is_first = Some(at) == first;
            }
        }
        Ok(render(status, &self))
    }

    fn csrf_token(&self) -> &str {
        &self.layout.csrf_token
    }

    #[allow(clippy::unused_self, reason = "templates ask the value that they are given")]
    fn tone(&self) -> &'static str {
        NoticeKind::Problem.as_str()
    }
}

impl Field {
    /// A line for a name.
    pub(super) fn name(value: impl Into<String>, hint: &'static str) -> Self {
        Self {
            name: "name",
            label: "Name",
            input: Input::Line { longest: Name::MAX_CHARACTERS },
            value: value.into(),
            hint,
            problem: None,
            is_first: true,
            is_required: false,
        }
    }

    /// Lines for a description.
    pub(super) fn description(value: impl Into<String>, hint: &'static str) -> Self {
        Self {
            name: "description",
            label: "Description",
            input: Input::Lines { longest: Description::MAX_CHARACTERS },
            is_first: false,
            ..Self::name(value, hint)
        }
    }

    /// When a key ends.
    pub(super) fn expires(value: impl Into<String>) -> Self {
        let usual = vec![
            ("1d", "One day"),
            ("30d", "30 days"),
            ("90d", "90 days"),
            ("365d", "One year"),
            ("never", "It does not end"),
        ];
        Self {
            name: "expires",
            label: "Expires",
            input: Input::Suggested { longest: 40, usual },
            is_first: false,
            ..Self::name(
                value,
                "How long it lives (90d, 12h), or a day or time in UTC (2027-01-31). Empty: it does not end",
            )
        }
    }

    /// One of a few.
    pub(super) fn choice(
        name: &'static str,
        label: &'static str,
        choices: Vec<(&'static str, &'static str)>,
        value: impl Into<String>,
    ) -> Self {
        Self { name, label, input: Input::Choice(choices), is_first: false, ..Self::name(value, "") }
    }

    /// A box that has to be ticked.
    pub(super) fn tick(name: &'static str, label: &'static str) -> Self {
        Self { name, label, input: Input::Tick, is_required: true, ..Self::name("", "") }
    }

    /// That another field gets the focus.
    pub(super) fn not_first(mut self) -> Self {
        self.is_first = false;
        self
    }

    /// That it must be filled in.
    pub(super) fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    fn has_hint(&self) -> bool {
        !self.hint.is_empty()
    }
}

/// A name and a description as they were typed, if they can be ones.
pub(super) fn read_name_and_description(form: &Form) -> Result<(Option<Name>, Option<Description>), Refusal> {
    let name = form.name().map_err(|error| refused_text("name", &error))?;
    let description = form.description().map_err(|error| refused_text("description", &error))?;
    Ok((name, description))
}

fn refused_text(field: &str, error: &TextError) -> Refusal {
    match error {
        TextError::TooLong { .. } => Refusal::too_long(field, error.to_string()),
        TextError::Control { .. } => Refusal::invalid("InvalidCharacters", field, error.to_string()),
    }
}

/// The revision that a form was filled in on.
pub(super) fn read_revision(form: &Form) -> Result<ExpectedRevision, Refusal> {
    let revision = form.value("revision").parse().map(ChangeNumber);
    revision.map(|revision| ExpectedRevision::OneOf(vec![revision])).map_err(|_| Refusal::BadRequest {
        code: "InvalidFormat",
        field: None,
        detail: "the form lacks the revision that it was opened with: open it again".to_owned(),
    })
}

/// Whether a question was answered with "I mean my own key".
pub(super) fn read_confirmation(form: &Form) -> SelfLockout {
    if form.value("confirm") == "self" { SelfLockout::Confirmed } else { SelfLockout::NotConfirmed }
}

/// What an object is like now, to be compared with what was typed.
pub(super) fn current_values(
    name: Option<&Name>,
    description: Option<&Description>,
) -> Vec<(&'static str, String)> {
    let none = || "None".to_owned();
    vec![
        ("Name", name.map_or_else(none, ToString::to_string)),
        ("Description", description.map_or_else(none, ToString::to_string)),
    ]
}
