//! The choice of an environment, for the page that lists its keys.

use super::super::refusal::Refusal;
use super::signed_in_request::SignedInRequest;
use crate::model::{Environment, EnvironmentId, KeyOwner};
use crate::policy::ManagementAction;
use crate::store::{ENVIRONMENT_FIELDS, PageQuery};

/// Environments that are offered at once; a box to search in comes with a longer list.
const MOST_OFFERED: usize = 100;
/// A longer text finds nothing.
const LONGEST_FILTER: usize = 255;
/// The parameters of the query string.
const CHOSEN: &str = "environment";
const FILTER: &str = "environment-filter";

/// What is offered, and what is chosen.
pub(super) struct EnvironmentPicker {
    offered: Vec<Environment>,
    chosen: Option<usize>,
    pub(super) filter: String,
    /// Whether there are more than are offered.
    pub(super) is_long: bool,
    /// What the choice leaves as it is.
    pub(super) hidden: Vec<(String, String)>,
}

/// An environment's name and id.
pub(super) fn environment_label(environment: &Environment) -> String {
    match &environment.name {
        Some(name) => format!("{name} ({})", environment.id),
        None => environment.id.to_string(),
    }
}

impl EnvironmentPicker {
    /// Offers the environments that the caller may see. Without a choice it is the first whose keys the caller may see.
    pub(super) async fn read(request: &SignedInRequest<'_>) -> Result<Self, Refusal> {
        let filter: String =
            request.parameter(FILTER).unwrap_or_default().trim().chars().take(LONGEST_FILTER).collect();
        let query = PageQuery {
            search: Some(filter.clone()).filter(|filter| !filter.is_empty()),
            sort: ENVIRONMENT_FIELDS.iter().find(|field| field.name == "name"),
            limit: MOST_OFFERED,
            ..PageQuery::default()
        };
        let page = request.operations().environments(&request.caller, query).await?;
        let mut offered: Vec<_> = page.items.into_iter().map(|entry| entry.object).collect();
        let wanted = match request.parameter(CHOSEN) {
            Some(id) => Some(id.parse::<EnvironmentId>().map_err(|_| Refusal::NotFound)?),
            None => None,
        };
        let chosen = if let Some(id) = wanted {
            match offered.iter().position(|environment| environment.id == id) {
                Some(at) => Some(at),
                // the filter decides where it was just set
                None if !filter.is_empty() && !offered.is_empty() => Some(0),
                None => {
                    offered.insert(
                        0,
                        request.operations().existing_environment(&request.caller, &id).await?.object,
                    );
                    Some(0)
                }
            }
        } else {
            let sees = |environment: &Environment| {
                request.caller.may(&ManagementAction::SeeKeys(KeyOwner::Environment(environment.id.clone())))
            };
            offered.iter().position(sees).or(if offered.is_empty() { None } else { Some(0) })
        };
        // another environment's list begins anew
        let kept = form_urlencoded::parse(request.http.query().as_bytes())
            .filter(|(name, _)| name != CHOSEN && !name.starts_with("environment-"))
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        Ok(Self { offered, chosen, filter, is_long: page.next.is_some(), hidden: kept.collect() })
    }

    pub(super) fn chosen(&self) -> Option<&Environment> {
        self.offered.get(self.chosen?)
    }

    /// Whether there is more than one to choose from.
    pub(super) fn has_choice(&self) -> bool {
        self.offered.len() > 1 || self.is_filtered()
    }

    pub(super) fn is_filtered(&self) -> bool {
        !self.filter.is_empty()
    }

    /// Id, words, whether it is chosen.
    pub(super) fn options(&self) -> impl Iterator<Item = (&str, String, bool)> {
        let options = self.offered.iter().enumerate();
        options.map(|(at, environment)| {
            (environment.id.as_str(), environment_label(environment), self.chosen == Some(at))
        })
    }
}
