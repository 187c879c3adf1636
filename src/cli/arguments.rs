//! Arguments that several commands have.

use clap::Args;

use crate::model::{Description, Name};
use crate::store::Edit;

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

/// Whether a key may stop itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct ConfirmSelf {
    /// With --url: stop the very key that asks, too
    #[arg(long)]
    pub(super) confirm_self: bool,
}

impl ConfirmSelf {
    /// Where a key cannot stop itself there is nothing to confirm.
    pub(super) const NONE: Self = Self { confirm_self: false };
}
