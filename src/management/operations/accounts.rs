//! Operations on accounts.

use super::{Caller, Changed, Operations, SelfLockout, refuse_self_lockout};
use crate::management::refusal::Refusal;
use crate::model::{Account, AccountId, State};
use crate::policy::ManagementAction;
use crate::store::{Edit, NewAccount, Page, PageQuery, StateTransition, WithRevision};

impl Operations {
    /// An account that the caller may see, even a removed one.
    pub async fn account(&self, caller: &Caller, id: AccountId) -> Result<WithRevision<Account>, Refusal> {
        caller.require(&ManagementAction::SeeAccount(id))?;
        Ok(self.store.read(move |store| store.account_entry(id)).await?)
    }

    /// A page of the accounts that the caller may see: all for admins, the own account for users.
    pub async fn accounts(
        &self,
        caller: &Caller,
        query: PageQuery,
    ) -> Result<Page<WithRevision<Account>>, Refusal> {
        if caller.is_admin() {
            return self.list(caller, move |store| store.account_page(None, &query)).await;
        }
        match caller.account().map(|account| account.id) {
            Some(own) => self.list(caller, move |store| store.account_page(Some(own), &query)).await,
            None => Ok(Page::whole(Vec::new())),
        }
    }

    /// Creates an account.
    pub async fn create_account(
        &self,
        caller: &Caller,
        new: NewAccount,
    ) -> Result<Changed<WithRevision<Account>>, Refusal> {
        caller.require(&ManagementAction::ManageAccounts)?;
        let created = self
            .store
            .write(caller.author(), move |store| {
                let (account, number) = store.create_account(&new)?;
                Ok((store.account_entry(account.id)?, number))
            })
            .await?;
        Ok(self.with_receipt(created).await)
    }

    /// Changes an account's name or description.
    pub async fn edit_account(
        &self,
        caller: &Caller,
        id: AccountId,
        edit: Edit,
    ) -> Result<Changed<WithRevision<Account>>, Refusal> {
        self.account(caller, id).await?;
        caller.require(&ManagementAction::ManageAccounts)?;
        let edited = self
            .store
            .write(caller.author(), move |store| {
                let (_, number) = store.edit_account(id, &edit)?;
                Ok((store.account_entry(id)?, number))
            })
            .await?;
        Ok(self.with_receipt(edited).await)
    }

    /// Activates, deactivates or removes an account. With it go its keys and memberships.
    pub async fn set_account_state(
        &self,
        caller: &Caller,
        id: AccountId,
        transition: impl Into<StateTransition>,
        lockout: SelfLockout,
    ) -> Result<Changed<WithRevision<Account>>, Refusal> {
        let transition = transition.into();
        self.account(caller, id).await?;
        caller.require(&ManagementAction::ManageAccounts)?;
        let to = transition.to;
        let is_own = caller.account().is_some_and(|own| own.id == id);
        refuse_self_lockout(to != State::Active && is_own, lockout)?;
        let changed = self
            .store
            .write(caller.author(), move |store| {
                let (_, number) = store.set_account_state(id, transition)?;
                Ok((store.account_entry(id)?, number))
            })
            .await;
        let now = async || self.account(caller, id).await.map(|entry| (entry.revision, entry));
        self.state_changed(to, changed, now).await
    }
}
