//! The search box, and keys by their access keys.

use crate::shared;
use crate::support::cli::Key;
use crate::support::http1::Response;
use crate::support::marker;
use crate::visitor::{Visitor, encoded, row_of};

/// What the search box leads to, as a browser follows it.
#[track_caller]
fn search(visitor: &Visitor<'_>, text: &str) -> (String, Response) {
    let answer = visitor.post("/search", &[("q", text)]);
    if answer.status != 303 {
        return ("/search".to_owned(), answer);
    }
    let mut target = answer.header("Location").unwrap();
    loop {
        let answer = visitor.get(&target);
        match answer.header("Location") {
            Some(next) => target = next,
            None => return (target, answer),
        }
    }
}

fn a_user(role: Option<&str>) -> Key {
    let gateway = shared().gateway();
    let name = marker();
    gateway.create_account(&name, "user");
    if let Some(role) = role {
        gateway.add_member("e2", &name, role);
    }
    gateway.create_account_key(&name)
}

#[test]
fn a_leaked_key_is_found_by_whatever_is_known_of_it() {
    let admin = Visitor::signed_in(shared().gateway(), &shared().gateway().admin);
    let name = format!("leaked-{}", marker());
    let key = Visitor::signed_in(shared().gateway(), &shared().alice).create_key("environment=e1", &name);
    let own_page = format!("/keys/{}", key.id);
    let pair = format!("{}:{}", key.access_key, key.secret);
    for text in [
        key.access_key.clone(),
        key.id.clone(),
        format!(" {} ", key.access_key),
        pair.clone(),
        format!("curl -u '{pair}' http://gw.test/v1"),
        format!("http://{pair}@gw.test/v1"),
        format!("Authorization: {}", key.authorization()),
    ] {
        let (target, answer) = search(&admin, &text);
        assert_eq!((target.as_str(), answer.status), (own_page.as_str(), 200), "{text}");
    }
    for text in [&name[3..], &name.to_uppercase(), &key.access_key[..18]] {
        let (_, answer) = search(&admin, text);
        let page = answer.text();
        let row = row_of(&page, &key.id).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(row.contains(&key.access_key) && row.contains("Environment e1"), "{row}");
        assert!(page.contains("id=\"found-total\""), "{page}");
    }
    let answer = admin.get(&format!("/keys/{}", key.access_key));
    assert_eq!(answer.header("Location"), Some(own_page.clone()), "{answer:?}");
    // a deleted one is found too, and marked
    for verb in ["deactivate", "delete"] {
        assert_eq!(admin.post(&format!("{own_page}/{verb}"), &[]).status, 303);
    }
    let page = search(&admin, &name).1.text();
    assert!(row_of(&page, &key.id).unwrap().contains("data-state=\"removed\""), "{page}");
    assert!(search(&admin, &key.access_key).1.text().contains("data-state=\"removed\""));
    assert_eq!(admin.get("/keys/pce_00000000000000000000").status, 404);
}

#[test]
fn one_finds_the_keys_that_one_may_see_and_no_others() {
    let gateway = shared().gateway();
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let name = format!("seen-{}", marker());
    let of_environment = admin.create_key("environment=e2", &name);
    let of_admin = admin.create_key("account=1a1", &name);
    let removed = admin.create_key("environment=e2", &name);
    for verb in ["deactivate", "delete"] {
        assert_eq!(admin.post(&format!("/keys/{}/{verb}", removed.id), &[]).status, 303);
    }
    for (role, sees) in [
        (Some("owner"), true),
        (Some("member"), true),
        (Some("restricted"), true),
        (Some("readonly"), false),
        (None, false),
    ] {
        let visitor = Visitor::signed_in(gateway, &a_user(role));
        let own = visitor.create_key("", &name);
        let page = search(&visitor, &name).1.text();
        assert!(row_of(&page, &own.id).is_some(), "{role:?}: {page}");
        assert!(row_of(&page, &of_admin.id).is_none(), "{role:?}: {page}");
        for key in [&of_environment, &removed] {
            assert_eq!(row_of(&page, &key.id).is_some(), sees, "{role:?}: {page}");
            let status = visitor.get(&format!("/keys/{}", key.access_key)).status;
            assert_eq!(status, if sees { 303 } else { 404 }, "{role:?}");
        }
        assert_eq!(visitor.get(&format!("/keys/{}", of_admin.access_key)).status, 404);
        let (target, answer) = search(&visitor, &of_admin.access_key);
        assert!(
            target.starts_with("/search?q=pca_") && answer.text().contains("id=\"found-empty\""),
            "{answer:?}"
        );
    }
}

#[test]
fn case_89_a_searched_pair_leaves_its_secret_nowhere() {
    let gateway = shared().gateway();
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let key = admin.create_key("environment=e2", &marker());
    let chosen_secret = format!("secret-{}", marker());
    let chosen = format!("somebody:{chosen_secret}");
    for (text, secret) in [
        (format!("{}:{}", key.access_key, key.secret), &key.secret),
        (key.secret.clone(), &key.secret),
        (chosen.clone(), &chosen_secret),
    ] {
        let answer = admin.post("/search", &[("q", &text)]);
        let location = answer.header("Location").unwrap_or_default();
        assert!(
            !location.contains(secret.as_str()) && !answer.text().contains(secret.as_str()),
            "{answer:?}"
        );
        let (target, answer) = search(&admin, &text);
        assert!(!target.contains(secret.as_str()) && !answer.text().contains(secret.as_str()), "{answer:?}");
    }
    assert!(search(&admin, &key.secret).1.text().contains("That is a secret key."));
    // typed into the address all the same: the page leads away from it, and does not show it
    let answer = admin.get(&format!("/search?q=somebody%3A{chosen_secret}"));
    assert_eq!(answer.header("Location").as_deref(), Some("/search?q=somebody"), "{answer:?}");
    for text in [gateway.log(), gateway.stdout()] {
        assert!(!text.contains(&key.secret) && !text.contains(&chosen_secret), "{text}");
    }
}

#[test]
fn odd_searches_are_answered_with_a_page() {
    let admin = Visitor::signed_in(shared().gateway(), &shared().gateway().admin);
    let long = "x".repeat(4096);
    let wide = "钥".repeat(255);
    for (text, status) in [
        ("", 422),
        ("   ", 422),
        (long.as_str(), 422),
        (wide.as_str(), 200),
        ("<script>alert(1)</script>", 200),
        ("%", 200),
        ("' OR 1=1 --", 200),
        ("\u{202e}x\u{0}y", 200),
        ("/../../etc/passwd", 200),
    ] {
        let (_, answer) = search(&admin, text);
        assert_eq!(answer.status, status, "{text}: {answer:?}");
        let page = answer.text();
        assert!(page.starts_with("<!DOCTYPE html>") && !page.contains("<script>alert"), "{page}");
    }
    for target in
        ["/search", "/search?q=a&q=b", "/search?q=%ff", "/search?q=x&after=m1", "/search?q=x&after="]
    {
        let answer = admin.get(target);
        assert!([200, 422].contains(&answer.status), "{target}: {answer:?}");
        assert!(answer.text().starts_with("<!DOCTYPE html>"), "{target}");
    }
}

#[test]
fn a_pair_in_the_box_of_a_list_or_a_filter_stays_in_no_address() {
    let gateway = shared().gateway();
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let key = gateway.create_environment_key("e1");
    let pair = format!("{}:{}", key.access_key, key.secret);
    let asked = |visitor: &Visitor<'_>, path: &str, pairs: &[(&str, &str)]| {
        visitor.get(&format!("{path}?{}", encoded(pairs)))
    };
    for (path, parameter) in [
        ("/keys", "account-search"),
        ("/keys", "environment-search"),
        ("/accounts", "search"),
        ("/audit", "key"),
        ("/audit", "object"),
        ("/audit", "actor"),
        ("/audit", "address"),
        ("/audit", "from"),
        ("/audit", "to"),
    ] {
        let clean = format!("{path}?environment=e1&{parameter}={}&x=y", key.access_key);
        // whoever asks: the sign-in page keeps the address, too
        for visitor in [&admin, &Visitor::new(gateway)] {
            let answer = asked(visitor, path, &[("environment", "e1"), (parameter, &pair), ("x", "y")]);
            assert_eq!(answer.header("Location").as_deref(), Some(clean.as_str()), "{answer:?}");
        }
    }
    let answer = asked(&admin, "/environments", &[("search", "chosen:password")]);
    assert_eq!(answer.header("Location").as_deref(), Some("/environments?search=chosen"), "{answer:?}");
    let answer = asked(&admin, "/audit", &[("object", &key.secret)]);
    assert_eq!(answer.header("Location").as_deref(), Some("/audit?object="), "{answer:?}");
    assert!(admin.page("/audit?object=").contains("That is a secret key"), "why nothing was looked for");
    // what has a colon and is no pair
    for (path, parameter, text) in [
        ("/audit", "object", "e1:1a2"),
        ("/audit", "from", "2026-01-31 09:30"),
        ("/keys", "account-search", "a b"),
    ] {
        let answer = asked(&admin, path, &[(parameter, text)]);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
