//! Arguments that several commands have.

use clap::Args;
use jiff::Timestamp;

use crate::model::{Description, Name, Scope, ScopeFields, WantedEnd};
use crate::store::{Edit, KeyEdit};

/// The two fields that can be edited.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct EditArguments {
    /// The new name; "" takes it away
    #[arg(long)]
    name: Option<String>,
    /// The new description; "" takes it away
    #[arg(long)]
    description: Option<String>,
}

/// The heading of the options of a scope.
const SCOPE_HEADING: &str = "Scope (what is left out is not narrowed)";

/// How far a key is narrowed.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ScopeArguments {
    /// Let it only read: GET, HEAD, OPTIONS and other safe methods, and no tunnels but those that only read
    #[arg(long, help_heading = SCOPE_HEADING)]
    read_only: bool,
    /// Let it use only this method; may be repeated
    #[arg(
        long = "method",
        value_name = "METHOD",
        help_heading = SCOPE_HEADING
    )]
    methods: Vec<String>,
    /// Let it reach only this path; may be repeated. '*' is one segment; '/**' at the end is all that lies beneath
    #[arg(long = "path", value_name = "PATH", help_heading = SCOPE_HEADING)]
    paths: Vec<String>,
    /// Let it be used only from this network or address; may be repeated
    #[arg(long = "from", value_name = "CIDR", help_heading = SCOPE_HEADING)]
    networks: Vec<String>,
}

impl ScopeArguments {
    /// The scope; `None` if no option names one.
    pub(super) fn scope(&self) -> anyhow::Result<Option<Scope>> {
        let Self { read_only, methods, paths, networks } = self;
        Ok(Scope::new(&ScopeFields {
            read_only: *read_only,
            methods: methods.clone(),
            paths: paths.clone(),
            networks: networks.clone(),
        })?)
    }
}

/// What a key is given when it is made, and what can be edited later.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct KeyArguments {
    /// What it is called; "" for no name
    #[arg(long)]
    name: Option<String>,
    /// Free text; "" for none
    #[arg(long)]
    description: Option<String>,
    /// When it stops by itself: 90d from now, a day (2027-01-31), a time (2027-01-31T12:00:00Z), or never. A day has 24
    /// hours; write months and years in days (30d, 365d)
    #[arg(long, value_name = "WHEN")]
    expires: Option<WantedEnd>,
    #[command(flatten)]
    scope: ScopeArguments,
}

impl KeyArguments {
    /// What the options say; what they leave out stays as it is.
    pub(super) fn edit(&self) -> anyhow::Result<KeyEdit> {
        Ok(KeyEdit {
            common: edit(self.name.as_deref(), self.description.as_deref())?,
            expires: self.expires.map(|end| end.from(Timestamp::now())),
            scope: self.scope.scope()?.map(Some),
        })
    }
}

/// What can be edited of a key.
#[derive(Debug, Args)]
#[group(
    required = true,
    multiple = true,
    args = ["name", "description", "expires", "read_only", "methods", "paths", "networks", "no_scope"]
)]
pub(super) struct KeyEditArguments {
    #[command(flatten)]
    key: KeyArguments,
    /// Take the whole scope away; any other option of the scope replaces all of it
    #[arg(
        long,
        conflicts_with_all = ["read_only", "methods", "paths", "networks"],
        help_heading = SCOPE_HEADING
    )]
    no_scope: bool,
}

impl KeyEditArguments {
    pub(super) fn edit(&self) -> anyhow::Result<KeyEdit> {
        let edit = self.key.edit()?;
        Ok(if self.no_scope { KeyEdit { scope: Some(None), ..edit } } else { edit })
    }
}

impl EditArguments {
    pub(super) fn edit(&self) -> anyhow::Result<Edit> {
        edit(self.name.as_deref(), self.description.as_deref())
    }

    /// Whether the name is among what is edited.
    pub(super) fn names(&self) -> bool {
        self.name.is_some()
    }
}

fn edit(name: Option<&str>, description: Option<&str>) -> anyhow::Result<Edit> {
    Ok(Edit {
        name: name.map(Name::parse).transpose()?,
        description: description.map(Description::parse).transpose()?,
        ..Edit::default()
    })
}

/// An optional name from the command line.
pub(super) fn name(text: Option<&str>) -> anyhow::Result<Option<Name>> {
    Ok(text.map(Name::parse).transpose()?.flatten())
}

/// An optional description from the command line.
pub(super) fn description(text: Option<&str>) -> anyhow::Result<Option<Description>> {
    Ok(text.map(Description::parse).transpose()?.flatten())
}

/// What is said to somebody who names a key by its secret, which is printed nowhere.
pub(super) const SECRET_AS_NAME: &str = "this is a secret key, by which no key is found: name the key by its id or its \
    access key";

/// Whether a key may stop itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct ConfirmSelf {
    /// With --url: needed to stop the key that makes the request, or its account
    #[arg(long)]
    pub(super) confirm_self: bool,
}

impl ConfirmSelf {
    /// Where a key cannot stop itself there is nothing to confirm.
    pub(super) const NONE: Self = Self { confirm_self: false };
}
