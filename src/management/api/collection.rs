//! Collections: a page of resources, and the links to its other orders and to the next page.

use serde_json::{Map, Value, json};

use super::api_request::ApiRequest;
use super::query::{Listed, with};
use super::types::Type;
use crate::store::Marker;

/// The document of a page.
pub(super) fn document(
    call: &ApiRequest<'_>,
    kind: Type,
    listed: &Listed,
    data: &[Value],
    next: Option<&Marker>,
) -> Value {
    let address = format!("{}{}", call.request.base(), call.request.path().trim_end_matches('/'));
    let query = call.request.query();
    let link = |changes: &[(&str, Option<&str>)]| format!("{address}?{}", with(query, changes));
    // projects are special in Rancher: its clients find nothing to sort or filter by
    let fields = if kind == Type::Project { &[] } else { kind.listed_by() };
    let sort_links: Map<String, Value> = fields
        .iter()
        .filter(|field| field.is_sortable())
        .map(|field| {
            let changes = [("sort", Some(field.name)), ("order", None), ("marker", None)];
            (field.name.to_owned(), link(&changes).into())
        })
        .collect();
    let filters: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let used: Vec<_> = listed
                .used
                .iter()
                .filter(|(name, ..)| *name == field.name)
                .map(|(_, modifier, value)| json!({ "value": value, "modifier": modifier.as_str() }))
                .collect();
            (field.name.to_owned(), if used.is_empty() { Value::Null } else { used.into() })
        })
        .collect();
    let sort = listed.query.sort.map(|field| {
        let order = if listed.query.descending { "desc" } else { "asc" };
        let reverse = if listed.query.descending { "asc" } else { "desc" };
        json!({
            "name": field.name,
            "order": order,
            "reverse": link(&[("sort", Some(field.name)), ("order", Some(reverse)), ("marker", None)]),
        })
    });
    let next = next.map(|marker| link(&[("marker", Some(&marker.to_string()))]));
    json!({
        "type": "collection",
        "resourceType": kind.name(),
        "links": { "self": address },
        "createTypes": {},
        "actions": {},
        "data": data,
        "sortLinks": sort_links,
        "pagination": {
            "first": null,
            "previous": null,
            "next": next,
            "limit": listed.query.limit,
            "total": null,
            "partial": next.is_some(),
        },
        "sort": sort,
        "filters": filters,
        "createDefaults": {},
    })
}
