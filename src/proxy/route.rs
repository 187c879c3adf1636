//! The second step: which route a request's path belongs to, and what the path is there.

use super::admit::Admitted;
use super::headers::is_named_by_connection;
use super::refusal::Refusal;
use super::request_context::RequestContext;
use super::webdav_destination::webdav_destination;
use crate::policy::{HeaderValues, RequestTarget, Routed, RoutingError, WebDavDestination, apply_selectors};
use crate::wire::{RequestHead, same_field_name};

/// What the paths of a request are under the routes.
pub(super) struct RoutedPaths<'a> {
    pub(super) routed: Routed<'a, 'a>,
    /// The second path of a COPY or MOVE.
    pub(super) destination: Option<WebDavDestination<'a>>,
}

impl RequestContext<'_> {
    /// Finds the route.
    pub(super) fn route<'a>(&'a self, admitted: &Admitted<'a>) -> Result<RoutedPaths<'a>, Refusal> {
        let destination = webdav_destination(admitted, self.client)?;
        let routed = self.classify(admitted, &admitted.target)?.ok_or(Refusal::NoRoute)?;
        let destination = match &destination {
            None => None,
            Some(target) => {
                let routed = self.classify(admitted, target)?;
                Some(routed.map_or(WebDavDestination::NoRoute, WebDavDestination::Routed))
            }
        };
        Ok(RoutedPaths { routed, destination })
    }

    /// What a path is under the routes; `None`: no route leads there.
    fn classify<'a>(
        &'a self,
        admitted: &Admitted<'a>,
        target: &RequestTarget<'a>,
    ) -> Result<Option<Routed<'a, 'a>>, Refusal> {
        let routed = match self.active_config.snapshot.routes.classify(target) {
            Ok(routed) => routed,
            Err(RoutingError::NoRoute) => return Ok(None),
            Err(RoutingError::Ambiguous(why)) => return Err(Refusal::Path(why)),
        };
        let head = admitted.head;
        let selected = apply_selectors(routed, target.query, &|name| header_values(head, name));
        selected.map(Some).map_err(Refusal::Selector)
    }
}

/// The values of a header under every spelling that folds to `name`.
fn header_values<'h>(head: &'h RequestHead, name: &str) -> HeaderValues<'h> {
    let mut found = HeaderValues::Absent;
    for (_, field, value) in head.fields.iter() {
        if same_field_name(field, name.as_bytes()) {
            // it would be judged here and not reach the upstream
            if is_named_by_connection(&head.fields, field) {
                return HeaderValues::Withheld;
            }
            if !matches!(found, HeaderValues::Absent) {
                return HeaderValues::Many;
            }
            found = HeaderValues::One(value);
        }
    }
    found
}
