//! The names of accounts, environments and keys.

use std::collections::HashMap;

use super::{Caller, Operations};
use crate::management::refusal::Refusal;
use crate::model::Name;
use crate::policy::ManagementAction;
use crate::store::ObjectId;

impl Operations {
    /// The objects with this name or this access key, even removed ones. For admins.
    pub async fn ids_of_name(&self, caller: &Caller, name: String) -> Result<Vec<ObjectId>, Refusal> {
        caller.require(&ManagementAction::SeeEverything)?;
        self.list(caller, move |store| store.ids_of_name(&name)).await
    }

    /// Other objects of the same kind with this name, without removed ones. For admins.
    pub async fn namesakes(
        &self,
        caller: &Caller,
        id: ObjectId,
        name: Name,
    ) -> Result<Vec<ObjectId>, Refusal> {
        caller.require(&ManagementAction::SeeEverything)?;
        self.list(caller, move |store| store.namesakes(&id, &name)).await
    }

    /// The names of objects that the caller may see, even removed ones. Only admins see names of keys.
    pub async fn names(
        &self,
        caller: &Caller,
        ids: Vec<ObjectId>,
    ) -> Result<HashMap<ObjectId, String>, Refusal> {
        let names = self.store.read(move |store| store.names(&ids)).await?;
        let may_see = |id: &ObjectId, state| match id {
            ObjectId::Account(id) => caller.may(&ManagementAction::SeeAccount(*id)),
            ObjectId::Environment(id) => {
                caller.may(&ManagementAction::SeeEnvironment { id: id.clone(), state })
            }
            ObjectId::Key(_) => caller.is_admin(),
        };
        let seen = names.into_iter().filter(|(id, found)| may_see(id, found.state));
        Ok(seen.map(|(id, found)| (id, found.name)).collect())
    }
}
