//! Arguments that several commands have.

use clap::Args;
use jiff::Timestamp;

use crate::model::{Description, Name, WantedEnd};
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

/// What can be edited of a key.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct KeyEditArguments {
    /// The new name; "" takes it away
    #[arg(long)]
    name: Option<String>,
    /// The new description; "" takes it away
    #[arg(long)]
    description: Option<String>,
    /// When it stops by itself: 90d from now, a day (2027-01-31), a time (2027-01-31T12:00:00Z), or never
    #[arg(long, value_name = "WHEN")]
    expires: Option<WantedEnd>,
}

impl KeyEditArguments {
    pub(super) fn edit(&self) -> anyhow::Result<KeyEdit> {
        Ok(KeyEdit {
            common: Edit {
                name: self.name.as_deref().map(Name::parse).transpose()?,
                description: self.description.as_deref().map(Description::parse).transpose()?,
                ..Edit::default()
            },
            expires: self.expires.map(|end| end.from(Timestamp::now())),
        })
    }
}

impl EditArguments {
    pub(super) fn edit(&self) -> anyhow::Result<Edit> {
        Ok(Edit {
            name: self.name.as_deref().map(Name::parse).transpose()?,
            description: self.description.as_deref().map(Description::parse).transpose()?,
            ..Edit::default()
        })
    }
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
