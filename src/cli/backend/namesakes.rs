//! Names are not unique: two accounts or two environments may have the same one.

use super::{Backend, accounts, environments};
use crate::cli::output::eprint_line;
use crate::model::Name;
use crate::store::ObjectId;

impl Backend {
    /// Says so where others of the same kind have the name that an account or an environment was just given. Commands that
    /// are to find one of them by its name would refuse.
    pub(in crate::cli) fn warn_of_namesakes(&mut self, id: &ObjectId, name: &Name) {
        // the change is made: nobody needs to hear that this could not be learnt
        let Ok(ids) = self.namesakes(id, name) else { return };
        let Some(first) = ids.first() else { return };
        let kind = if matches!(id, ObjectId::Account(_)) { "account" } else { "environment" };
        let others = match ids.len() {
            1 => format!("{kind} {first} has"),
            count => format!("{count} {kind}s have, {first} among them,"),
        };
        eprint_line(format_args!(
            "warning: {others} the name '{name}' too, so commands find neither by it: use the ids, or give one another \
             name (`portcullis {kind} edit {id} --name NAME`)"
        ));
    }

    fn namesakes(&mut self, id: &ObjectId, name: &Name) -> anyhow::Result<Vec<ObjectId>> {
        let client = match self {
            Self::Store(local_store) => return Ok(local_store.store.namesakes(id, name)?),
            Self::Api(client) => client,
        };
        let mut ids: Vec<_> = match id {
            ObjectId::Account(_) => {
                let found = accounts::named(client, name.as_str())?;
                found.into_iter().map(|fetched| ObjectId::Account(fetched.object.id)).collect()
            }
            ObjectId::Environment(_) => {
                let found = environments::named(client, name.as_str())?;
                found.into_iter().map(|fetched| ObjectId::Environment(fetched.object.id)).collect()
            }
            ObjectId::Key(_) => Vec::new(),
        };
        ids.retain(|other| other != id);
        Ok(ids)
    }
}
