//! Operations on API keys.

use zeroize::Zeroizing;

use super::{Caller, Changed, Operations, SelfLockout, refuse_self_lockout};
use crate::auth::{MintedPair, Secret};
use crate::management::refusal::Refusal;
use crate::model::{AccessKey, KeyId, KeyOwner, Owner, State, WantedOverlap};
use crate::policy::ManagementAction;
use crate::store::{
    EnvironmentScope, ExpectedRevision, KeyEdit, KeyEntry, NewKey, Overlap, Page, PageQuery, StateTransition,
};

/// A new key.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key, without its secret.
    pub changed: Changed<KeyEntry>,
    /// Its secret, which is nowhere else; `None` if the caller chose it.
    pub secret: Option<Secret>,
}

/// The access key and secret key of a new key.
#[derive(Debug, Default)]
pub enum NewPair {
    /// The gateway mints them.
    #[default]
    Minted,
    /// Somebody chose them. For admins.
    Chosen {
        /// The public half.
        access_key: AccessKey,
        /// The secret half.
        secret: Zeroizing<Vec<u8>>,
    },
}

impl Operations {
    /// A key that the caller may see, even a removed one.
    pub async fn key(&self, caller: &Caller, id: KeyId) -> Result<KeyEntry, Refusal> {
        let entry = self.store.read(move |store| store.key_entry(id)).await?;
        match caller.require(&ManagementAction::SeeKeys(entry.key.owner.clone())) {
            Ok(()) => Ok(entry),
            Err(_) => Err(Refusal::NotFound),
        }
    }

    /// The key with this access key, if the caller may see it, even a removed one.
    pub async fn key_with_access_key(
        &self,
        caller: &Caller,
        access_key: AccessKey,
    ) -> Result<KeyEntry, Refusal> {
        let entry = self.store.read(move |store| store.key_entry_of(&access_key)).await?;
        caller.require(&ManagementAction::SeeKeys(entry.key.owner.clone())).map_err(|_| Refusal::NotFound)?;
        Ok(entry)
    }

    /// A page of all keys that the caller may see, of any owner, even removed ones.
    pub async fn search_keys(&self, caller: &Caller, query: PageQuery) -> Result<Page<KeyEntry>, Refusal> {
        let seen_by = match caller.owner() {
            _ if caller.is_admin() => EnvironmentScope::All,
            KeyOwner::Account(id) => EnvironmentScope::VisibleTo(*id),
            KeyOwner::Environment(id) => EnvironmentScope::Only(id.clone()),
        };
        let mut page = self.list(caller, move |store| store.key_page_with_removed(&seen_by, &query)).await?;
        // the policy decides; the query has only narrowed the candidates
        page.items.retain(|entry| caller.may(&ManagementAction::SeeKeys(entry.key.owner.clone())));
        Ok(page)
    }

    /// A page of the keys of `owner`. Without one, of the keys that the caller may see: all for admins, those of the own
    /// account for users, those of its environment for an environment key.
    pub async fn keys(
        &self,
        caller: &Caller,
        owner: Option<KeyOwner>,
        query: PageQuery,
    ) -> Result<Page<KeyEntry>, Refusal> {
        let owner = match owner {
            None if caller.is_admin() => None,
            None => Some(caller.owner().clone()),
            Some(owner) => {
                caller.require(&ManagementAction::SeeKeys(owner.clone()))?;
                Some(owner)
            }
        };
        self.list(caller, move |store| store.key_page(owner.as_ref(), &query)).await
    }

    /// Creates a key for `owner`.
    pub async fn create_key(
        &self,
        caller: &Caller,
        owner: KeyOwner,
        said: KeyEdit,
        pair: NewPair,
    ) -> Result<IssuedKey, Refusal> {
        caller.require(&ManagementAction::ChangeKeys(owner.clone()))?;
        let properties = said.into_properties(&self.lifetimes(), self.now())?;
        if let NewPair::Chosen { .. } = pair {
            caller.require(&ManagementAction::ImportKey)?;
        }
        let (access_key, verifier, secret) = match pair {
            NewPair::Minted => {
                let owner = owner.clone();
                let MintedPair { access_key, secret, verifier } =
                    self.hash(move |authenticator| Ok(authenticator.mint_pair(&owner)?)).await?;
                (access_key, verifier, Some(secret))
            }
            NewPair::Chosen { access_key, secret } => {
                let chosen = access_key.clone();
                let verifier =
                    self.hash(move |authenticator| authenticator.hash_chosen_secret(chosen, secret)).await?;
                (access_key, verifier, None)
            }
        };
        let new = NewKey { owner, access_key, properties, verifier };
        let created = self
            .store
            .write(caller.author(), move |store| {
                let (key, number) = store.create_key(&new)?;
                Ok((store.key_entry(key.id)?, number))
            })
            .await?;
        Ok(IssuedKey { changed: self.with_receipt(created).await, secret })
    }

    /// Changes what the owner of a key decides.
    pub async fn edit_key(
        &self,
        caller: &Caller,
        id: KeyId,
        edit: KeyEdit,
    ) -> Result<Changed<KeyEntry>, Refusal> {
        let entry = self.key(caller, id).await?;
        caller.require(&ManagementAction::ChangeKeys(entry.key.owner.clone()))?;
        let edit = edit.checked(&entry.key, &self.lifetimes(), self.now())?;
        let edited = self
            .store
            .write(caller.author(), move |store| {
                let (_, number) = store.edit_key(id, &edit)?;
                Ok((store.key_entry(id)?, number))
            })
            .await?;
        Ok(self.with_receipt(edited).await)
    }

    /// Gives a key another secret; the one before stays valid as long as `wanted` says.
    pub async fn rotate_key(
        &self,
        caller: &Caller,
        id: KeyId,
        wanted: WantedOverlap,
        expected: ExpectedRevision,
    ) -> Result<IssuedKey, Refusal> {
        let entry = self.key(caller, id).await?;
        caller.require(&ManagementAction::ChangeKeys(entry.key.owner))?;
        let access_key = entry.key.access_key;
        let (secret, verifier) =
            self.hash(move |authenticator| Ok(authenticator.new_secret(&access_key)?)).await?;
        let overlap = Overlap::of(wanted, self.now());
        let rotated = self
            .store
            .write(caller.author(), move |store| {
                let (_, number) = store.rotate_key(id, &verifier, overlap, &expected)?;
                Ok((store.key_entry(id)?, number))
            })
            .await?;
        Ok(IssuedKey { changed: self.with_receipt(rotated).await, secret: Some(secret) })
    }

    /// Ends the former secret of a key that was rotated.
    pub async fn end_rotation(
        &self,
        caller: &Caller,
        id: KeyId,
        expected: ExpectedRevision,
    ) -> Result<Changed<KeyEntry>, Refusal> {
        let entry = self.key(caller, id).await?;
        caller.require(&ManagementAction::ChangeKeys(entry.key.owner))?;
        let ended = self
            .store
            .write(caller.author(), move |store| {
                let (_, number) = store.end_rotation(id, &expected)?;
                Ok((store.key_entry(id)?, number))
            })
            .await?;
        Ok(self.with_receipt(ended).await)
    }

    /// Activates, deactivates or removes a key.
    pub async fn set_key_state(
        &self,
        caller: &Caller,
        id: KeyId,
        transition: impl Into<StateTransition>,
        lockout: SelfLockout,
    ) -> Result<Changed<KeyEntry>, Refusal> {
        let transition = transition.into();
        let entry = self.key(caller, id).await?;
        caller.require(&ManagementAction::ChangeKeys(entry.key.owner))?;
        let to = transition.to;
        refuse_self_lockout(to != State::Active && caller.principal().key.id == id, lockout)?;
        let changed = self
            .store
            .write(caller.author(), move |store| {
                let (_, number) = store.set_key_state(id, transition)?;
                Ok((store.key_entry(id)?, number))
            })
            .await;
        let now = async || self.key(caller, id).await.map(|entry| (entry.revision, entry));
        self.state_changed(to, changed, now).await
    }

    /// An owner of keys that the caller may see, with an account's memberships.
    pub async fn key_owner(&self, caller: &Caller, owner: &KeyOwner) -> Result<Owner, Refusal> {
        caller.require(&ManagementAction::SeeKeys(owner.clone()))?;
        let owner = owner.clone();
        Ok(self.store.read(move |store| store.owner(&owner)).await?)
    }

    /// Hashes a secret on a thread for blocking work, a few at once.
    async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce(&crate::auth::Authenticator) -> Result<T, crate::auth::ChosenPairError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let busy = || Refusal::Unavailable { retry_after: std::time::Duration::from_secs(1) };
        let _place = self.hashing.acquire().await.map_err(|_| busy())?;
        let authenticator = std::sync::Arc::clone(&self.authenticator);
        // an error means that it panicked, which the runtime has reported
        let hashed = tokio::task::spawn_blocking(move || work(&authenticator)).await.map_err(|_| busy())?;
        Ok(hashed?)
    }
}
