//! How a list is looked at, as the query string says: order, search, page size, and where the page begins.
//!
//! Two lists on one page tell their parameters apart by a prefix. Links and forms of one keep what the other is at.

use form_urlencoded::Serializer;

use super::super::refusal::Refusal;
use super::super::request::Request;
use crate::store::{Field, PageQuery};

/// Page sizes to choose from; the first is the defaults one.
pub(super) const SIZES: [usize; 3] = [20, 50, 100];
/// A longer text finds nothing: no name and no access key is that long.
const LONGEST_SEARCH: usize = 255;

/// What a list is like before anybody says otherwise.
pub(super) struct ListDefaults {
    /// Before the names of its parameters.
    pub(super) prefix: &'static str,
    /// The id of its element, to which its links lead.
    pub(super) anchor: &'static str,
    /// What it may be sorted by.
    pub(super) fields: &'static [Field],
    /// The name of the field that it is sorted by.
    pub(super) sort: &'static str,
    /// From the greatest down.
    pub(super) descending: bool,
}

/// How one list is looked at.
pub(super) struct ListView {
    path: String,
    defaults: ListDefaults,
    /// What else the query string says.
    kept: Vec<(String, String)>,
    sort: Option<&'static Field>,
    descending: bool,
    pub(super) search: String,
    pub(super) limit: usize,
    /// Where the page begins or ends: the word before it, and the marker.
    position: Option<(&'static str, String)>,
}

/// The words behind the prefix.
const SORT: &str = "sort";
const ORDER: &str = "order";
const SEARCH: &str = "search";
const LIMIT: &str = "limit";
const AFTER: &str = "after";
const BEFORE: &str = "before";

impl ListView {
    /// Reads it; what makes no sense is left at the defaults.
    pub(super) fn read(request: &Request, defaults: ListDefaults) -> Self {
        let mut view = Self {
            path: request.path().to_owned(),
            kept: Vec::new(),
            sort: field(defaults.fields, defaults.sort),
            descending: defaults.descending,
            search: String::new(),
            limit: SIZES[0],
            position: None,
            defaults,
        };
        for (name, value) in form_urlencoded::parse(request.query().as_bytes()) {
            match name.strip_prefix(view.defaults.prefix) {
                Some(SORT) => view.sort = field(view.defaults.fields, &value).or(view.sort),
                Some(ORDER) => view.descending = value == "down",
                Some(SEARCH) => view.search = value.trim().chars().take(LONGEST_SEARCH).collect(),
                Some(LIMIT) => {
                    let size = value.parse().ok().filter(|size| SIZES.contains(size));
                    view.limit = size.unwrap_or(view.limit);
                }
                Some(AFTER) => view.position = Some((AFTER, value.into_owned())),
                Some(BEFORE) => view.position = Some((BEFORE, value.into_owned())),
                _ => view.kept.push((name.into_owned(), value.into_owned())),
            }
        }
        view
    }

    /// The question for the record.
    pub(super) fn query(&self) -> Result<PageQuery, Refusal> {
        let marker = |wanted: &str| match &self.position {
            Some((word, text)) if *word == wanted => {
                text.parse().map(Some).map_err(|error: crate::store::InvalidMarker| {
                    Refusal::invalid("InvalidOption", "marker", error.to_string())
                })
            }
            _ => Ok(None),
        };
        Ok(PageQuery {
            filters: Vec::new(),
            search: Some(self.search.clone()).filter(|search| !search.is_empty()),
            sort: self.sort,
            descending: self.descending,
            after: marker(AFTER)?,
            before: marker(BEFORE)?,
            is_counted: true,
            is_natural: true,
            limit: self.limit,
        })
    }

    /// Whether this is the first page.
    pub(super) fn is_first(&self) -> bool {
        self.position.is_none()
    }

    /// What a search form of this list sends beside the search itself.
    pub(super) fn hidden(&self) -> Vec<(String, String)> {
        let mut pairs = self.kept.clone();
        pairs.extend(self.own(self.sort, self.descending, "", self.limit, None));
        pairs
    }

    /// Where a form of this list is sent.
    pub(super) fn action(&self) -> String {
        format!("{}#{}", self.path, self.defaults.anchor)
    }

    /// The name of a parameter of this list.
    pub(super) fn parameter(&self, word: &str) -> String {
        format!("{}{word}", self.defaults.prefix)
    }

    /// The list without its search.
    pub(super) fn unsearched(&self) -> String {
        self.link(self.own(self.sort, self.descending, "", self.limit, None))
    }

    /// The list from its beginning.
    pub(super) fn first(&self) -> String {
        self.link(self.own(self.sort, self.descending, &self.search, self.limit, None))
    }

    /// The page that begins after a marker.
    pub(super) fn next(&self, marker: &str) -> String {
        self.link(self.own(self.sort, self.descending, &self.search, self.limit, Some((AFTER, marker))))
    }

    /// The page that ends before a marker.
    pub(super) fn previous(&self, marker: &str) -> String {
        self.link(self.own(self.sort, self.descending, &self.search, self.limit, Some((BEFORE, marker))))
    }

    /// The list with pages of this size.
    pub(super) fn sized(&self, limit: usize) -> String {
        self.link(self.own(self.sort, self.descending, &self.search, limit, None))
    }

    /// The list sorted by a field; by the other direction where it is sorted by that one already.
    pub(super) fn sorted(&self, name: &str) -> String {
        let turned = self.is_sorted_by(name) && !self.descending;
        self.link(self.own(field(self.defaults.fields, name), turned, &self.search, self.limit, None))
    }

    /// `aria-sort` of a column.
    pub(super) fn order_of(&self, name: &str) -> &'static str {
        match (self.is_sorted_by(name), self.descending) {
            (false, _) => "none",
            (true, false) => "ascending",
            (true, true) => "descending",
        }
    }

    fn is_sorted_by(&self, name: &str) -> bool {
        self.sort.is_some_and(|sort| sort.name == name)
    }

    /// The parameters that differ from the defaults.
    fn own(
        &self,
        sort: Option<&'static Field>,
        descending: bool,
        search: &str,
        limit: usize,
        position: Option<(&str, &str)>,
    ) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut push = |word: &str, value: String| pairs.push((self.parameter(word), value));
        let sort = sort.map_or(self.defaults.sort, |sort| sort.name);
        if (sort, descending) != (self.defaults.sort, self.defaults.descending) {
            push(SORT, sort.to_owned());
            push(ORDER, if descending { "down" } else { "up" }.to_owned());
        }
        if !search.is_empty() {
            push(SEARCH, search.to_owned());
        }
        if limit != SIZES[0] {
            push(LIMIT, limit.to_string());
        }
        if let Some((word, marker)) = position {
            push(word, marker.to_owned());
        }
        pairs
    }

    fn link(&self, own: Vec<(String, String)>) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.kept).extend_pairs(own);
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{mark}{query}#{}", self.path, self.defaults.anchor)
    }
}

fn field(fields: &'static [Field], name: &str) -> Option<&'static Field> {
    fields.iter().find(|field| field.name == name && field.is_sortable())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::KEY_FIELDS;

    fn view(query: &str) -> ListView {
        let head = http::Request::builder().uri(format!("/keys?{query}")).body(()).unwrap().into_parts().0;
        let request = Request {
            id: String::new(),
            source: [127, 0, 0, 1].into(),
            host: "gw.test".to_owned(),
            is_secure: false,
            head,
            body: Bytes::new(),
        };
        let defaults =
            ListDefaults { prefix: "a-", anchor: "a", fields: KEY_FIELDS, sort: "name", descending: false };
        ListView::read(&request, defaults)
    }

    #[test]
    fn a_header_sorts_and_then_turns_the_order() {
        assert_eq!(view("").order_of("name"), "ascending");
        assert_eq!(view("").sorted("name"), "/keys?a-sort=name&a-order=down#a");
        assert_eq!(view("").sorted("created"), "/keys?a-sort=created&a-order=up#a");
        let by_created = view("a-sort=created&a-order=up");
        assert_eq!(by_created.order_of("created"), "ascending");
        assert_eq!(by_created.sorted("created"), "/keys?a-sort=created&a-order=down#a");
        assert_eq!(view("a-sort=name&a-order=down").sorted("name"), "/keys#a");
    }

    #[test]
    fn links_keep_the_search_and_what_is_not_theirs() {
        let view = view("environment=e1&b-sort=state&a-search=x%26y+z&a-limit=50&a-after=m1");
        assert_eq!(view.first(), "/keys?environment=e1&b-sort=state&a-search=x%26y+z&a-limit=50#a");
        assert!(view.next("m2").contains("a-search=x%26y+z&a-limit=50&a-after=m2#a"));
        assert!(!view.unsearched().contains("search"));
        assert!(!view.is_first());
        assert_eq!(view.search, "x&y z");
        assert_eq!(view.query().unwrap_err().field(), Some("marker"));
    }

    #[test]
    fn what_makes_no_sense_is_left_at_the_usual() {
        let view = view("a-sort=secretValue&a-limit=1000000&a-search=++");
        let query = view.query().unwrap();
        assert_eq!((query.sort.unwrap().name, query.limit, query.search), ("name", SIZES[0], None));
        assert_eq!(
            super::tests::view(&format!("a-search={}", "x".repeat(10_000))).search.len(),
            LONGEST_SEARCH
        );
    }
}
