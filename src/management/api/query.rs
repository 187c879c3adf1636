//! The query of a list: filters with modifiers, order, pages.

use crate::management::refusal::Refusal;
use crate::management::request::Request;
use crate::store::{Field, Filter, Modifier, PageQuery};

/// Rows on a page if the query does not say, as in Rancher.
const DEFAULT_LIMIT: usize = 100;
/// The most rows on a page, as in Rancher.
const MAX_LIMIT: usize = 3_000;

/// Filters of one list: more than any client needs, and few enough for the record.
const MAX_FILTERS: usize = 32;
/// The longest value of a filter: longer than any value of a field.
const MAX_VALUE_BYTES: usize = 8 << 10;

/// The parameters of a query string or a form, decoded.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(query.as_bytes()).into_owned()
}

/// The query of a list.
pub(super) struct ListQuery {
    /// What the record is asked.
    pub(super) for_store: PageQuery,
    /// The filters as the client wrote them, for the answer.
    pub(super) filters: Vec<(&'static str, Modifier, String)>,
}

/// Reads the query of a list. Unknown parameters are ignored, as in Rancher; what is no date or no marker is refused.
pub(super) fn read(request: &Request, fields: &'static [Field]) -> Result<ListQuery, Refusal> {
    let mut query = PageQuery { limit: DEFAULT_LIMIT, ..PageQuery::default() };
    let mut filters = Vec::new();
    for (name, value) in parameters(request.query()) {
        match name.as_str() {
            "limit" => {
                if let Ok(limit) = value.parse::<i64>() {
                    let limit = usize::try_from(limit).unwrap_or(0);
                    query.limit = if limit == 0 { MAX_LIMIT } else { limit.min(MAX_LIMIT) };
                }
            }
            "marker" => {
                let marker = value
                    .parse()
                    .map_err(|error| Refusal::invalid("InvalidOption", "marker", format!("{error}")))?;
                query.after = Some(marker);
            }
            "order" => query.descending = value.eq_ignore_ascii_case("desc"),
            "sort" => query.sort = fields.iter().find(|field| field.is_sortable() && field.name == value),
            _ => {
                let Some((field, modifier)) = filter_of(&name, fields) else { continue };
                if value.len() > MAX_VALUE_BYTES {
                    let detail = format!("a value has {MAX_VALUE_BYTES} bytes at most");
                    return Err(Refusal::too_long(field.name, detail));
                }
                if query.filters.len() == MAX_FILTERS {
                    let detail = format!("a list takes {MAX_FILTERS} filters at most");
                    return Err(Refusal::invalid("MaxLimitExceeded", field.name, detail));
                }
                let comparison = field
                    .parse_comparison(modifier, &value)
                    .map_err(|error| Refusal::invalid("InvalidDateFormat", field.name, error.to_string()))?;
                query.filters.push(Filter { field, comparison });
                filters.push((field.name, modifier, value));
            }
        }
    }
    Ok(ListQuery { for_store: query, filters })
}

/// `field` or `field_modifier`: the modifier is what follows the last underscore.
fn filter_of(name: &str, fields: &'static [Field]) -> Option<(&'static Field, Modifier)> {
    let find = |name: &str| fields.iter().find(|field| field.name == name);
    if let Some(field) = find(name) {
        return Some((field, Modifier::Eq));
    }
    let (name, word) = name.rsplit_once('_')?;
    let field = find(name)?;
    let modifier = field.modifiers().iter().find(|modifier| modifier.as_str() == word)?;
    Some((field, *modifier))
}

/// The query string with other values of some parameters; `None` removes one.
pub(super) fn with_changes(query: &str, changes: &[(&str, Option<&str>)]) -> String {
    let mut written = form_urlencoded::Serializer::new(String::new());
    for (name, value) in
        parameters(query).filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name))
    {
        written.append_pair(&name, &value);
    }
    for (name, value) in changes {
        if let Some(value) = value {
            written.append_pair(name, value);
        }
    }
    written.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::KEY_FIELDS;

    #[test]
    fn the_modifier_is_what_follows_the_last_underscore() {
        let found = |name| filter_of(name, KEY_FIELDS).map(|(field, modifier)| (field.name, modifier));
        assert_eq!(found("name"), Some(("name", Modifier::Eq)));
        assert_eq!(found("name_prefix"), Some(("name", Modifier::Prefix)));
        assert_eq!(found("created_gte"), Some(("created", Modifier::Gte)));
        assert_eq!(found("removed_null"), Some(("removed", Modifier::Null)));
        for unknown in
            ["nonsense", "name_nonsense", "state_like", "secretValue", "secretValue_prefix", "_", "name_"]
        {
            assert_eq!(found(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_link_keeps_the_query_of_its_page() {
        let query = "name_prefix=a%26b&limit=1&marker=mX";
        assert_eq!(
            with_changes(query, &[("sort", Some("name")), ("marker", None)]),
            "name_prefix=a%26b&limit=1&sort=name"
        );
    }
}
