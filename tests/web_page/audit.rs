//! The audit log: its filters, names, and history.

use crate::shared;
use crate::support::marker;
use crate::visitor::{Visitor, encoded, row_of};

/// How many entries the log shows under these filters.
#[track_caller]
fn count(admin: &Visitor<'_>, filters: &[(&str, &str)]) -> usize {
    let page = admin.page(&format!("/audit?{}", encoded(filters)));
    page.matches("data-id=\"1al").count()
}

#[test]
fn entries_are_found_by_names_ids_times_and_addresses() {
    let gateway = shared().gateway();
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let owner = marker();
    gateway.create_account(&owner, "user");
    let environment = format!("a{}", marker());
    gateway.create_environment(&environment);
    gateway.add_member(&environment, &owner, "owner");
    let visitor = Visitor::signed_in(gateway, &gateway.create_account_key(&owner));
    let name = format!("audited {}", marker());
    let key = visitor.create_key(&format!("environment={environment}"), &name);
    visitor.post(&format!("/keys/{}/deactivate", key.id), &[]);

    for object in [&name, &name.to_uppercase(), &key.id, &key.access_key] {
        assert_eq!(count(&admin, &[("object", object)]), 2, "{object}");
    }
    assert_eq!(count(&admin, &[("actor", &owner)]), 2);
    assert_eq!(count(&admin, &[("actor", &owner), ("object", &name), ("action", "create")]), 1);
    assert_eq!(count(&admin, &[("object", &name), ("from", "2026-01-31"), ("to", "2199-01-31 09:30")]), 2);
    assert_eq!(count(&admin, &[("object", &name), ("to", "2001-01-31")]), 0);
    assert_eq!(count(&admin, &[("object", &name), ("from", "2199-01-31")]), 0);
    let page = admin.page(&format!("/audit?{}", encoded(&[("object", &name)])));
    let address = page.split("from 127.").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let address = format!("127.{}", address.split('<').next().unwrap());
    assert_eq!(count(&admin, &[("object", &name), ("address", &address)]), 2, "{address}");
    assert_eq!(count(&admin, &[("object", &name), ("address", "192.0.2.7")]), 0);

    // names stand beside ids, and what changed below its row
    assert!(page.contains(&format!("key {name} ({})", key.id)), "{page}");
    assert!(page.contains(&format!(">{owner} (1a")), "{page}");
    let row = row_of(&page, page.split("data-id=\"").nth(1).unwrap().split('"').next().unwrap()).unwrap();
    assert!(row.contains(" UTC</span>") && !row.contains("<details"), "{row}");
    assert!(
        page.contains("<tr role=\"row\" class=\"below\"><td role=\"cell\" colspan=\"5\"><details"),
        "{page}"
    );

    // what the API calls in one word, the page says in words
    let page = admin.page("/audit?action=add");
    assert!(page.contains("<option value=\"endrotation\">end former secret</option>"), "{page}");
    assert!(page.contains("<option value=\"add\" selected>add member</option>"), "{page}");
    assert!(page.contains("<span class=\"tag\">add member</span>"), "{page}");

    // the key's page leads to its history
    let own_page = admin.page(&format!("/keys/{}", key.id));
    let history = format!("/audit?object={}&#38;type=key", key.id);
    assert!(
        own_page.contains(&history) || own_page.contains(&history.replace("&#38;", "&amp;")),
        "{own_page}"
    );
    assert!(!visitor.page(&format!("/keys/{}", key.id)).contains("/audit"), "the log is for admins");
    let own = admin.page("/keys/1c1");
    assert!(own.contains(&format!("/audit?key={}", gateway.admin.access_key)), "{own}");
}

#[test]
fn a_filter_that_means_nothing_is_an_error_at_its_field() {
    let admin = Visitor::signed_in(shared().gateway(), &shared().gateway().admin);
    for (name, value) in [
        ("action", "explode"),
        ("type", "<b>"),
        ("outcome", "maybe"),
        ("address", "10.0.0.0/8"),
        ("key", "two words"),
        ("from", "yesterday"),
        ("to", "31.01.2026"),
    ] {
        let answer = admin.get(&format!("/audit?{}", encoded(&[(name, value), ("object", "kept")])));
        assert_eq!(answer.status, 422, "{name}: {answer:?}");
        let page = answer.text();
        assert!(page.contains(&format!("id=\"problem-{name}\"")), "{page}");
        assert!(page.contains("value=\"kept\"") && !page.contains("entries-table"), "{page}");
        let shown = value.replace('<', "&#60;").replace('>', "&#62;");
        assert!(page.contains(&shown), "what was typed is lost: {page}");
    }
    let answer = admin.get("/audit?from=2026-02-01&to=2026-01-31");
    assert!(answer.status == 422 && answer.text().contains("id=\"problem-to\""), "{answer:?}");
    let answer = admin.get("/audit?actor=1a1&actor=1a2");
    assert!(answer.status == 422 && answer.text().contains("id=\"problem-actor\""), "{answer:?}");
    let page = admin.page("/audit?object=nothing-of-the-kind");
    assert!(page.contains("No entries match these filters."), "{page}");
    let wide = "钥".repeat(255);
    assert_eq!(count(&admin, &[("object", &wide), ("actor", &wide)]), 0);
}
