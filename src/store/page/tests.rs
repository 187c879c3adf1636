use std::collections::BTreeSet;

use super::super::{KeyProperties, KeyVerifier, NewKey, Store};
use super::query_plan::Plan;
use super::*;
use crate::model::{ApiKey, Description, EnvironmentId, KeyOwner, Name};
use crate::store::{EnvironmentScope, NewAccount, NewEnvironment};

const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g";

/// A store, the account and the environment that own its keys.
type Filled = (tempfile::TempDir, Store, KeyOwner, KeyOwner);

/// Lists are the same of an embedded store and of a record in PostgreSQL.
macro_rules! contract {
    ($($rule:ident),* $(,)?) => {
        mod embedded {
            $(#[test] fn $rule() {
                let directory = tempfile::tempdir().unwrap();
                let store = super::Store::create(&directory.path().join("portcullis.db")).unwrap();
                super::$rule(super::filled(directory, store));
            })*
        }
        mod in_postgresql {
            $(#[test] fn $rule() {
                let directory = tempfile::tempdir().unwrap();
                let store = crate::store::tests::open_empty(&directory.path().join("replica.db"));
                super::$rule(super::filled(directory, store));
            })*
        }
    };
}

contract!(
    every_order_shows_every_row_once_forwards_and_backwards,
    names_are_sorted_without_regard_to_case_and_missing_ones_come_first,
    names_with_numbers_are_sorted_by_their_values_where_that_is_asked,
    a_page_leads_to_the_one_before_it_and_is_counted,
    removed_keys_are_listed_where_that_is_asked,
    filters_say_what_their_modifiers_mean,
    search_looks_at_names_descriptions_and_access_keys_and_takes_wildcards_literally,
    a_marker_of_another_order_and_a_forged_one_are_refused,
    rare_rows_that_no_index_finds_are_shown_in_every_order,
    every_order_is_an_index,
);

/// 60 keys of an account and 30 of an environment, names and descriptions repeated and missing.
fn filled(directory: tempfile::TempDir, mut store: Store) -> Filled {
    let name = |text: &str| Name::parse(text).unwrap();
    let account =
        NewAccount { name: name("ada").unwrap(), kind: crate::model::AccountKind::User, description: None };
    let account = KeyOwner::Account(store.create_account(&account).unwrap().0.id);
    let id: EnvironmentId = "e1".parse().unwrap();
    let environment = NewEnvironment { id: id.clone(), name: None, description: None, members: Vec::new() };
    store.create_environment(&environment).unwrap();
    let environment = KeyOwner::Environment(id);
    for number in 0..90 {
        let owner = if number % 3 == 2 { &environment } else { &account };
        let new = NewKey {
            owner: owner.clone(),
            access_key: format!("k{:02}", (number * 37) % 90).parse().unwrap(),
            properties: KeyProperties {
                name: name(["", "deploy", "Build", "ci"][number % 4]),
                description: Description::parse(["", "one", "Two"][number % 3]).unwrap(),
                expires: (number % 4 == 0)
                    .then(|| Timestamp::from_second(2_000_000_000 + [3, 1, 2][number % 3]).unwrap()),
                ..KeyProperties::default()
            },
            verifier: KeyVerifier { phc: PHC.to_owned(), fingerprint: None, inner: None },
        };
        let (key, _) = store.create_key(&new).unwrap();
        if number % 5 == 0 {
            store.set_key_state(key.id, crate::model::State::Inactive).unwrap();
        }
        if number % 30 == 0 {
            store.remove_key(key.id).unwrap();
        }
    }
    (directory, store, account, environment)
}

fn field(name: &str) -> &'static Field {
    KEY_FIELDS.iter().find(|field| field.name == name).unwrap()
}

fn filter(name: &str, modifier: Modifier, value: &str) -> Filter {
    let field = field(name);
    Filter { field, comparison: field.parse_comparison(modifier, value).unwrap() }
}

/// All pages of a list, seven rows at a time.
fn all_pages(store: &Store, owner: Option<&KeyOwner>, query: &PageQuery) -> Vec<crate::model::ApiKey> {
    let mut query = PageQuery { limit: 7, ..query.clone() };
    let mut found = Vec::new();
    loop {
        let page = store.key_page(owner, &query).unwrap();
        assert!(page.items.len() <= 7);
        found.extend(page.items.into_iter().map(|entry| entry.key));
        match page.next {
            Some(marker) => query.after = Some(marker.to_string().parse().unwrap()),
            None => return found,
        }
    }
}

/// The rows that a list must show, found by reading all.
fn rows(store: &Store, owner: Option<&KeyOwner>) -> BTreeSet<i64> {
    let owner = match owner {
        None => "true",
        Some(KeyOwner::Account(_)) => "account IS NOT NULL",
        Some(KeyOwner::Environment(_)) => "environment IS NOT NULL",
    };
    let statement = format!("SELECT id FROM keys WHERE state <> 'removed' AND {owner}");
    let read = |at: &rusqlite::Connection| {
        let mut statement = at.prepare(&statement)?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    };
    store.database.read(read).unwrap()
}

fn every_order_shows_every_row_once_forwards_and_backwards(
    (_directory, store, account, environment): Filled,
) {
    for owner in [None, Some(&account), Some(&environment)] {
        let all = rows(&store, owner);
        for field in KEY_FIELDS.iter().filter(|field| field.is_sortable()) {
            let ids = |descending| {
                let query = PageQuery { sort: Some(field), descending, ..PageQuery::default() };
                all_pages(&store, owner, &query).into_iter().map(|key| key.id.row()).collect::<Vec<_>>()
            };
            let (up, mut down) = (ids(false), ids(true));
            assert_eq!(up.iter().copied().collect::<BTreeSet<_>>(), all, "{}", field.name);
            assert_eq!(up.len(), all.len(), "{}", field.name);
            down.reverse();
            assert_eq!(up, down, "{}", field.name);
        }
    }
}

fn names_are_sorted_without_regard_to_case_and_missing_ones_come_first(
    (_directory, store, account, _): Filled,
) {
    let query = PageQuery { sort: Some(field("name")), ..PageQuery::default() };
    let names: Vec<_> = all_pages(&store, Some(&account), &query)
        .into_iter()
        .map(|key| key.name.map(|name| name.as_str().to_lowercase()).unwrap_or_default())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(
        (names.first().map(String::as_str), names.last().map(String::as_str)),
        (Some(""), Some("deploy"))
    );
}

fn names_with_numbers_are_sorted_by_their_values_where_that_is_asked((_directory, mut store, ..): Filled) {
    let id: EnvironmentId = "e2".parse().unwrap();
    let environment = NewEnvironment { id: id.clone(), name: None, description: None, members: Vec::new() };
    store.create_environment(&environment).unwrap();
    let owner = KeyOwner::Environment(id);
    let sorted = [
        "2 apples",
        "10 apples",
        "7",
        "010",
        "99999999999999999999",
        "100000000000000000000",
        "a",
        "A1",
        "a2",
        "a10",
        "a10b",
        "a9b",
        "node-2",
        "node-10",
        "v1.2",
        "v1.10",
    ];
    for (at, text) in sorted.iter().enumerate().rev() {
        let new = NewKey {
            owner: owner.clone(),
            access_key: format!("natural{at}").parse().unwrap(),
            properties: KeyProperties { name: Name::parse(text).unwrap(), ..KeyProperties::default() },
            verifier: KeyVerifier { phc: PHC.to_owned(), fingerprint: None, inner: None },
        };
        store.create_key(&new).unwrap();
    }
    for owner in [Some(&owner), None] {
        for descending in [false, true] {
            let query =
                PageQuery { sort: Some(field("name")), is_natural: true, descending, ..PageQuery::default() };
            let keys = all_pages(&store, owner, &query);
            let mut found: Vec<_> = keys
                .iter()
                .filter(|key| key.access_key.as_str().starts_with("natural"))
                .filter_map(|key| key.name.as_ref().map(Name::as_str))
                .collect();
            if descending {
                found.reverse();
            }
            // a number at the beginning counts before text, as its digits do
            let mut expected = sorted.to_vec();
            expected.sort_by_key(|name| sorted_by_hand(name));
            assert_eq!(found, expected);
        }
    }
    let natural = PageQuery { sort: Some(field("name")), is_natural: true, limit: 3, ..PageQuery::default() };
    let marker = store.key_page(None, &natural).unwrap().next;
    let other = store.key_page(None, &PageQuery { after: marker, is_natural: false, ..natural });
    assert!(matches!(other, Err(super::super::StoreError::Marker(_))), "{other:?}");
}

/// What the column holds, made another way.
fn sorted_by_hand(name: &str) -> String {
    let number = |digits: &str| {
        let value = digits.trim_start_matches('0');
        if digits.is_empty() { String::new() } else { format!("{:03}{value}", value.len()) }
    };
    let digit = |c: char| c.is_ascii_digit();
    let rest = name.trim_start_matches(digit);
    let stem = rest.trim_end_matches(digit);
    let (lead, tail) = (&name[..name.len() - rest.len()], &rest[stem.len()..]);
    format!("{}{}{}", number(lead), stem.to_lowercase(), number(tail))
}

fn a_page_leads_to_the_one_before_it_and_is_counted((_directory, store, account, _): Filled) {
    for owner in [None, Some(&account)] {
        for (name, is_natural) in [("id", false), ("name", false), ("name", true), ("created", false)] {
            for descending in [false, true] {
                let first = PageQuery {
                    sort: Some(field(name)),
                    descending,
                    is_natural,
                    limit: 7,
                    is_counted: true,
                    ..PageQuery::default()
                };
                let mut pages = vec![store.key_page(owner, &first).unwrap()];
                assert_eq!(pages[0].previous, None);
                while let Some(after) = pages.last().unwrap().next.clone() {
                    pages.push(
                        store.key_page(owner, &PageQuery { after: Some(after), ..first.clone() }).unwrap(),
                    );
                }
                let count = pages.iter().map(|page| page.items.len()).sum();
                for at in (1..pages.len()).rev() {
                    assert_eq!(pages[at].total, Some(Total::Exactly(count)));
                    let before = pages[at].previous.clone();
                    let page = store.key_page(owner, &PageQuery { before, ..first.clone() }).unwrap();
                    assert_eq!(page, pages[at - 1], "{name} {descending} {at}");
                }
            }
        }
    }
    // the first page is whole, wherever one comes from
    let first = PageQuery { limit: 7, ..PageQuery::default() };
    let after = store.key_page(None, &PageQuery { limit: 3, ..PageQuery::default() }).unwrap().next;
    let middle = store.key_page(None, &PageQuery { after, ..first.clone() }).unwrap();
    let back = store.key_page(None, &PageQuery { before: middle.previous, ..first.clone() }).unwrap();
    assert_eq!(back, store.key_page(None, &first).unwrap());
    let searched =
        PageQuery { search: Some("deploy".to_owned()), limit: 2, is_counted: true, ..PageQuery::default() };
    let all = PageQuery { limit: 100, ..searched.clone() };
    let count = store.key_page(None, &all).unwrap().items.len();
    assert_eq!(store.key_page(None, &searched).unwrap().total, Some(Total::Exactly(count)));
}

fn removed_keys_are_listed_where_that_is_asked((_directory, store, ..): Filled) {
    let query = |search: &str| PageQuery {
        search: Some(search.to_owned()),
        sort: Some(field("id")),
        descending: true,
        limit: 100,
        is_counted: true,
        ..PageQuery::default()
    };
    let found =
        |seen_by: &EnvironmentScope, search| store.key_page_with_removed(seen_by, &query(search)).unwrap();
    let all = found(&EnvironmentScope::All, "k");
    assert_eq!((all.items.len(), all.total), (90, Some(Total::Exactly(90))));
    assert!(all.items.is_sorted_by_key(|entry| std::cmp::Reverse(entry.key.id)));
    assert_eq!(all.items.iter().filter(|entry| entry.key.state == crate::model::State::Removed).count(), 3);
    let ada = EnvironmentScope::VisibleTo(crate::model::AccountId::from_row(1));
    assert_eq!(found(&ada, "k").items.len(), 60, "the account is a member of no environment");
    assert_eq!(found(&EnvironmentScope::Only("e1".parse().unwrap()), "k").items.len(), 30);
    assert!(found(&ada, "nothing").items.is_empty());
}

fn filters_say_what_their_modifiers_mean((_directory, store, ..): Filled) {
    let count = |name, modifier, value| {
        let query = PageQuery { filters: vec![filter(name, modifier, value)], ..PageQuery::default() };
        all_pages(&store, None, &query).len()
    };
    let all = all_pages(&store, None, &PageQuery::default());
    let named = |test: &dyn Fn(&str) -> bool| {
        all.iter().filter(|key| test(key.name.as_ref().map_or("", Name::as_str))).count()
    };
    assert_eq!(count("name", Modifier::Eq, "build"), named(&|name| name == "Build"));
    assert_eq!(count("name", Modifier::Ne, "Build"), named(&|name| name != "Build"));
    assert_eq!(count("name", Modifier::Prefix, "D"), named(&|name| name.starts_with('d')));
    assert_eq!(count("name", Modifier::Like, "%UIL%"), named(&|name| name == "Build"));
    assert_eq!(count("name", Modifier::Notlike, "%i%"), named(&|name| !name.contains('i')));
    assert_eq!((count("name", Modifier::Like, "\0"), count("name", Modifier::Notlike, "\0")), (0, all.len()));
    assert_eq!(count("name", Modifier::Null, "1"), named(&str::is_empty));
    assert_eq!(count("name", Modifier::Notnull, ""), named(&|name| !name.is_empty()));
    assert_eq!(count("state", Modifier::Eq, "inactive"), 15);
    assert_eq!(count("removed", Modifier::Null, "<nil>"), all.len());
    assert_eq!(count("lastUsed", Modifier::Null, ""), all.len());
    assert_eq!(count("lastUsed", Modifier::Lt, "2100-01-01T00:00:00Z"), 0, "never is before nothing");
    assert_eq!(count("kind", Modifier::Eq, "apiKey"), all.len());
    assert_eq!(count("id", Modifier::Lte, "1c10"), all.iter().filter(|key| key.id.row() <= 10).count());
    assert_eq!(count("id", Modifier::Eq, "1x2"), 0, "the prefix counts");
    assert_eq!(count("accountId", Modifier::Eq, "1a1"), 57);
    assert_eq!(count("accountId", Modifier::Eq, "e1"), 30);
    assert_eq!(count("accountId", Modifier::Ne, "e1"), 57);
    assert_eq!(count("accountId", Modifier::Eq, "nobody"), 0);
    assert_eq!(count("description", Modifier::Eq, "two"), 30);
    assert_eq!(
        count("publicValue", Modifier::Prefix, "k0"),
        all.iter().filter(|k| k.access_key.as_str().starts_with("k0")).count()
    );
    assert!(field("created").parse_comparison(Modifier::Gt, "yesterday").is_err());
    assert_eq!(count("created", Modifier::Gt, "2001-01-01T00:00:00Z"), all.len());
}

fn search_looks_at_names_descriptions_and_access_keys_and_takes_wildcards_literally(
    (_directory, store, account, _): Filled,
) {
    let found = |text: &str| {
        all_pages(
            &store,
            Some(&account),
            &PageQuery { search: Some(text.to_owned()), ..PageQuery::default() },
        )
        .len()
    };
    assert!(found("uil") > 0 && found("TWO") == 0 && found("ONE") > 0 && found("k0") > 0);
    assert_eq!((found("%"), found("_"), found("\\"), found("\0"), found("uil\0")), (0, 0, 0, 0, 0));
}

fn a_marker_of_another_order_and_a_forged_one_are_refused((_directory, store, ..): Filled) {
    let by = |name| PageQuery { sort: Some(field(name)), limit: 5, ..PageQuery::default() };
    let marker = store.key_page(None, &by("name")).unwrap().next;
    let other = store.key_page(None, &PageQuery { after: marker, ..by("created") });
    assert!(matches!(other, Err(super::super::StoreError::Marker(_))), "{other:?}");
    for text in ["", "m", "m5", "x", "mWzEsMiwzXQ", "m////"] {
        assert!(text.parse::<Marker>().is_err(), "{text}");
    }
}

/// Where the order's rows would be read one here and one there for very few that are wanted.
fn rare_rows_that_no_index_finds_are_shown_in_every_order((_directory, mut store, account, _): Filled) {
    let fill = |at: &rusqlite::Connection| {
        at.execute_batch(&format!(
            "INSERT INTO keys (access_key, account, name, description, state, uuid, phc, created)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
             SELECT 'x' || i, 1, 'n' || (i * 7919 % 6000), iif(i > 2500 AND i % 350 = 7, 'rare ' || (i % 3), 'common'), 'active', 'u' || i,
                '{PHC}', i * 31 % 6000 FROM n"
        ))?;
        Ok(())
    };
    store.database.write(fill).unwrap();
    let rare = || filter("description", Modifier::Like, "%are%");
    for owner in [None, Some(&account)] {
        for field in KEY_FIELDS.iter().filter(|field| field.is_sortable()) {
            for descending in [false, true] {
                let query = PageQuery { sort: Some(field), descending, limit: 1, ..PageQuery::default() };
                let first = store.key_page(owner, &query).unwrap().next;
                let query = PageQuery { after: first, limit: 10_000, ..query };
                let all = store.key_page(owner, &query).unwrap().items.into_iter().map(|entry| entry.key);
                let is_rare =
                    |key: &ApiKey| key.description.as_ref().is_some_and(|d| d.as_str().contains("rare"));
                let expected: Vec<_> = all.filter(is_rare).collect();
                let found = all_pages(&store, owner, &PageQuery { filters: vec![rare()], ..query.clone() });
                assert_eq!(found, expected, "{} {descending}", field.name);
                assert!(found.len() > 7);
                let searched =
                    all_pages(&store, owner, &PageQuery { search: Some("RARE".to_owned()), ..query });
                assert_eq!(searched, expected, "{} {descending}", field.name);
            }
        }
    }
    let plan = |query: PageQuery| {
        let scope = ListScope::everything();
        store.database.read(|at| ListDefinition::KEYS.plan_of(at, &query, &scope)).unwrap()
    };
    let by_name = PageQuery { sort: Some(field("name")), limit: 100, ..PageQuery::default() };
    assert_eq!(plan(PageQuery { filters: vec![rare()], ..by_name.clone() }), Plan::Scan);
    let common = filter("description", Modifier::Like, "common");
    assert_eq!(plan(PageQuery { filters: vec![common], ..by_name.clone() }), Plan::Order);
    // a range of the order itself has its place in it, however far from the beginning
    let last = vec![filter("name", Modifier::Prefix, "n"), filter("description", Modifier::Ne, "rare 1")];
    assert_eq!(plan(PageQuery { filters: last, ..by_name.clone() }), Plan::Order);
    assert_eq!(
        plan(PageQuery { filters: vec![filter("uuid", Modifier::Eq, "u5")], ..by_name }),
        Plan::Filter(0)
    );
}

/// A page must not sort: with a million keys that would take a second.
fn every_order_is_an_index((_directory, store, account, _): Filled) {
    let plan = |listing: &ListDefinition, owner: bool, order: &str| {
        let index = listing.index(Some(order), owner);
        let scope = if owner { "AND keys.owner = 1" } else { "" };
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT * FROM {0} INDEXED BY {index} WHERE {0}.state <> 'removed' {scope} \
             AND ({0}.{order}, {1}) > (1, 1) ORDER BY {0}.{order}, {1}",
            listing.table, listing.row
        );
        store.database.read(|at| {
            let mut statement = at.prepare(&sql)?;
            let rows = statement.query_map([], |row| row.get::<_, String>("detail"))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?.join("; "))
        })
    };
    assert!(matches!(account, KeyOwner::Account(_)));
    for listing in [ListDefinition::KEYS, ListDefinition::ACCOUNTS, ListDefinition::ENVIRONMENTS] {
        for order in listing.fields.iter().filter_map(|field| field.order).chain(["natural_name"]) {
            for owned in if listing.table == "keys" { vec![false, true] } else { vec![false] } {
                let plan = plan(&listing, owned, order).unwrap();
                assert!(!plan.contains("TEMP B-TREE"), "{} by {order}: {plan}", listing.table);
            }
        }
    }
}
