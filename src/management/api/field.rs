//! A field of a type, as schemas describe it.

use super::audience::Audience;

/// A field of a type.
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a schema's own flags, each with its name in Rancher's documents"
)]
pub(super) struct FieldSpec {
    pub(super) name: &'static str,
    /// Rancher's name of the type of its values.
    pub(super) kind: &'static str,
    pub(super) nullable: bool,
    pub(super) required: bool,
    /// Whether it must be given in an edit too.
    pub(super) required_in_edits: bool,
    /// In characters.
    pub(super) max_length: Option<usize>,
    pub(super) options: Option<&'static [&'static str]>,
    /// Who may set it in a new resource.
    pub(super) set_by: SetBy,
    pub(super) is_editable: bool,
    pub(super) only_at_creation: bool,
}

/// Who may set a field in a new resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetBy {
    /// The gateway alone.
    Gateway,
    /// Admins. What others send is ignored.
    Admins,
    /// Whoever may create the resource.
    Everyone,
}

/// A field that only the gateway sets.
pub(super) const fn field(name: &'static str, kind: &'static str) -> FieldSpec {
    FieldSpec {
        name,
        kind,
        nullable: false,
        required: false,
        required_in_edits: false,
        max_length: None,
        options: None,
        set_by: SetBy::Gateway,
        is_editable: false,
        only_at_creation: false,
    }
}

/// A name that people give.
pub(super) const NAME: FieldSpec = field("name", "string").at_most(255).set_by(SetBy::Everyone).editable();

/// A description that people give.
pub(super) const DESCRIPTION: FieldSpec =
    field("description", "string").at_most(1024).nullable().set_by(SetBy::Everyone).editable();

/// The fields of every type with a state.
pub(super) const STATE_FIELDS: &[FieldSpec] = &[
    field("created", "date"),
    field("removed", "date").nullable(),
    field("state", "enum").one_of(&[
        "active",
        "activating",
        "deactivating",
        "inactive",
        "removed",
        "removing",
    ]),
    field("transitioning", "enum").one_of(&["yes", "no", "error"]),
    field("transitioningMessage", "string").nullable(),
    field("transitioningProgress", "int").nullable(),
    field("uuid", "string").at_most(128),
];

impl FieldSpec {
    pub(super) const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub(super) const fn required_in_edits(self) -> Self {
        Self { required: true, required_in_edits: true, ..self }
    }

    pub(super) const fn at_most(self, characters: usize) -> Self {
        Self { max_length: Some(characters), ..self }
    }

    pub(super) const fn one_of(self, options: &'static [&'static str]) -> Self {
        Self { kind: "enum", options: Some(options), ..self }
    }

    pub(super) const fn set_by(self, set_by: SetBy) -> Self {
        Self { set_by, ..self }
    }

    pub(super) const fn editable(self) -> Self {
        Self { is_editable: true, ..self }
    }

    pub(super) const fn only_at_creation(self) -> Self {
        Self { only_at_creation: true, ..self }
    }

    /// Whether an audience may set it in a new resource.
    pub(super) fn is_settable_by(&self, audience: Audience) -> bool {
        match self.set_by {
            SetBy::Gateway => false,
            SetBy::Admins => audience == Audience::Admin,
            SetBy::Everyone => true,
        }
    }
}
