//! The life of a key on the page.

use serde_json::json;

use crate::shared;
use crate::support::api::Api;
use crate::support::http1::Request;
use crate::support::stage::Stage;
use crate::support::{PATIENCE, marker, wait_for};
use crate::visitor::{Visitor, row_of, text_of, value_of};

#[test]
fn a_key_is_created_used_deactivated_refused_and_deleted() {
    let shared = shared();
    let visitor = Visitor::signed_in(shared.gateway(), &shared.alice);
    let name = marker();
    let key = visitor.create_key("environment=e1", &name);
    assert!(key.access_key.starts_with("pce_") && key.secret.starts_with("pcs_"), "{key:?}");
    let request = || Request::get("/v1/projects/e1/hosts").key(&key);
    shared.stage.passes(request());

    let list = format!("/keys?environment=e1&environment-search={name}");
    let row = |page: &str| row_of(page, &key.id).map(str::to_owned);
    let page = visitor.page(&list);
    let found = row(&page).unwrap_or_else(|| panic!("{} is not in\n{page}", key.id));
    assert!(found.contains("data-state=\"active\"") && found.contains(&key.access_key), "{found}");
    for action in ["deactivate", "edit", "api"] {
        assert!(found.contains(&format!("data-action=\"{action}\"")), "{found}");
    }
    assert!(!found.contains("data-action=\"delete\""), "{found}");

    let answer = visitor.post(&format!("/keys/{}/deactivate", key.id), &[("to", &list)]);
    assert_eq!(answer.header("Location"), Some(list.clone()), "{answer:?}");
    // it is in force when the answer says so
    shared.stage.refuses(request(), &[401]);
    let page = visitor.page(&list);
    let notice = text_of(&page, "notice");
    assert!(notice.contains(&format!("{name}” is inactive. In force on ")), "{notice}");
    assert!(!visitor.page(&list).contains("id=\"notice\""), "the notice is shown once");
    let found = row(&page).unwrap();
    assert!(found.contains("data-state=\"inactive\"") && found.contains("data-action=\"delete\""), "{found}");

    visitor.post(&format!("/keys/{}/activate", key.id), &[("to", &list)]);
    shared.stage.passes(request());
    visitor.post(&format!("/keys/{}/deactivate", key.id), &[("to", &list)]);
    let question = visitor.page(&format!("/keys/{}/delete", key.id));
    assert!(question.contains("Delete the key “") && question.contains(&name));
    visitor.post(&format!("/keys/{}/delete", key.id), &[("to", &list)]);
    assert_eq!(row(&visitor.page(&list)), None);
    shared.stage.refuses(request(), &[401]);
}

#[test]
fn case_88_an_active_key_is_not_deleted_and_nothing_is_done_twice() {
    let shared = shared();
    let visitor = Visitor::signed_in(shared.gateway(), &shared.alice);
    let key = visitor.create_key("environment=e1", &marker());
    let act = |verb: &str| {
        let answer = visitor.post(&format!("/keys/{}/{verb}", key.id), &[("to", "/keys")]);
        assert_eq!(answer.status, 303, "{answer:?}");
        let page = visitor.page("/keys");
        (page.contains("data-tone=\"problem\""), text_of(&page, "notice"))
    };
    let (is_problem, notice) = act("delete");
    assert!(is_problem && notice.contains("deactivate it first"), "{notice}");
    assert!(!act("deactivate").0);
    let (is_problem, notice) = act("deactivate");
    assert!(is_problem && notice.contains("is inactive"), "{notice}");
    assert!(!act("delete").0);
    let answer = visitor.post(&format!("/keys/{}/activate", key.id), &[("to", "/keys")]);
    assert_eq!(answer.status, 303);
    assert!(visitor.page("/keys").contains("data-tone=\"problem\""), "nothing brings a deleted key back");
}

#[test]
fn case_89_a_secret_is_shown_once_and_stands_in_no_log() {
    let shared = shared();
    let visitor = Visitor::signed_in(shared.gateway(), &shared.alice);
    let answer = visitor.post("/keys/new?environment=e1", &[("name", &marker())]);
    let location = answer.header("Location").unwrap();
    assert!(!answer.text().contains("pcs_") && !location.contains("pcs_"), "{answer:?}");
    let target = location.split('?').next().unwrap();
    // neither a HEAD, nor a link elsewhere, nor another session uses the one time up
    assert_eq!(visitor.send(visitor.request("HEAD", target).end()).status, 200);
    let elsewhere = visitor.request("GET", target).header("Sec-Fetch-Site", "cross-site");
    let answer = visitor.send(elsewhere.header("Sec-Fetch-Mode", "navigate").end());
    assert!(!answer.text().contains("pcs_"), "{answer:?}");
    let other = Visitor::signed_in(shared.gateway(), &shared.alice);
    assert!(!other.page(target).contains("pcs_"));

    let shown = visitor.get(&location);
    assert_eq!(shown.header("Cache-Control").as_deref(), Some("no-store"));
    let page = shown.text();
    let (access_key, secret) = (text_of(&page, "access-key"), text_of(&page, "secret-key"));
    let curl = text_of(&page, "curl");
    let endpoint = format!("http://{}/v1/projects/e1", shared.gateway().http());
    assert_eq!(curl, format!("curl -u '{access_key}:{secret}' {endpoint}"));
    assert!(page.contains("cannot be seen again"), "{page}");

    let again = visitor.page(&location);
    assert!(!again.contains("pcs_") && again.contains("id=\"gone\""), "{again}");
    let id = target.split('/').nth(2).unwrap();
    let admin = Visitor::signed_in(shared.gateway(), &shared.gateway().admin);
    for target in
        [&format!("/keys/{id}"), &format!("/keys/{id}/edit"), "/audit", "/keys?environment=e1", target]
    {
        assert!(!admin.page(target).contains("pcs_"), "{target}");
    }
    for text in [shared.gateway().log(), shared.gateway().stdout()] {
        assert!(!text.contains(&secret) && !text.contains(&shared.alice.secret), "{text}");
    }
}

#[test]
fn a_form_that_is_sent_again_shows_no_secret_of_another_key() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let first = visitor.create_key("environment=e1", &marker());
    let second = visitor.create_key("environment=e1", &marker());
    assert_ne!(first.secret, second.secret);
    assert!(!visitor.page(&format!("/keys/{}/created", first.id)).contains("pcs_"));
}

#[test]
fn case_90_odd_names_are_escaped_or_refused_and_what_was_typed_is_kept() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let mark = marker();
    let name = format!("<script>alert('{mark}')</script>\"'&");
    let key = visitor.create_key("environment=e1", &name);
    let admin = Visitor::signed_in(shared().gateway(), &shared().gateway().admin);
    for page in [
        visitor.page(&format!("/keys?environment=e1&environment-search={mark}")),
        visitor.page(&format!("/keys/{}", key.id)),
        visitor.page(&format!("/keys/{}/edit", key.id)),
        visitor.page(&format!("/keys/{}/deactivate", key.id)),
        admin.page("/"),
        admin.page("/audit"),
        visitor.page("/keys?environment-search=%3Cscript%3Ealert(1)%3C/script%3E"),
        visitor.page("/keys/new?to=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E"),
    ] {
        assert!(!page.contains("<script>alert"), "{page}");
    }
    let page = visitor.page(&format!("/keys/{}", key.id));
    assert!(page.contains(&mark), "{page}");

    for (name, description, field) in [
        ("\u{202e}gnp.exe", "", "problem-name"),
        ("two\nlines", "", "problem-name"),
        (&"x".repeat(256), "", "problem-name"),
        ("", "bell\u{7}", "problem-description"),
        ("", &"<b>".repeat(400), "problem-description"),
    ] {
        let answer = visitor.post("/keys/new", &[("name", name), ("description", description)]);
        assert_eq!(answer.status, 422, "{answer:?}");
        let page = answer.text();
        assert!(page.contains(&format!("id=\"{field}\"")), "{page}");
        assert!(page.contains("aria-invalid=\"true\"") && !page.contains("<b><b>"), "{page}");
        if name.len() > 200 {
            assert!(page.contains(name), "what was typed is lost: {page}");
        }
    }
    // browsers end lines with CR LF
    let lines = [("name", mark.as_str()), ("description", "one\r\ntwo")];
    let answer = visitor.post("/keys/new?environment=e1", &lines);
    assert_eq!(answer.status, 303, "{answer:?}");
}

#[test]
fn case_88_of_two_edits_one_wins_and_the_other_sees_what_it_is_now() {
    let shared = shared();
    let one = Visitor::signed_in(shared.gateway(), &shared.alice);
    let other = Visitor::signed_in(shared.gateway(), &shared.gateway().admin);
    let key = one.create_key("environment=e1", &marker());
    let target = format!("/keys/{}/edit", key.id);
    let revision = value_of(&one.page(&target), "revision").unwrap();
    assert_eq!(value_of(&other.page(&target), "revision").as_ref(), Some(&revision));
    let edit = |visitor: &Visitor<'_>, name: &str, revision: &str| {
        let fields = [("name", name), ("description", ""), ("revision", revision), ("to", "/keys")];
        visitor.post(&target, &fields)
    };
    let (first, second) = (marker(), marker());
    assert_eq!(edit(&one, &first, &revision).status, 303);
    let lost = edit(&other, &second, &revision);
    assert_eq!(lost.status, 412, "{lost:?}");
    let page = lost.text();
    assert!(
        page.contains("id=\"edit-key-current\"") && page.contains(&first) && page.contains(&second),
        "{page}"
    );
    let newer = value_of(&page, "revision").unwrap();
    assert_ne!(newer, revision);
    assert_eq!(edit(&other, &second, &newer).status, 303);
    assert!(one.page(&format!("/keys/{}", key.id)).contains(&second));
    assert_eq!(edit(&one, "x", "nonsense").status, 400);
    assert_eq!(edit(&one, "x", "").status, 400);
    let log = other.page(&format!("/audit?type=key&object={}", key.id));
    assert!(
        log.contains("class=\"outcome refused\"") && log.contains(&first) && log.contains(&second),
        "{log}"
    );
}

#[test]
fn the_key_of_the_session_is_stopped_only_when_that_is_said() {
    let shared = shared();
    let key = shared.gateway().create_account_key("alice");
    let visitor = Visitor::signed_in(shared.gateway(), &key);
    let target = format!("/keys/{}/deactivate", key.id);
    let answer = visitor.post(&target, &[]);
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.text().contains("id=\"field-confirm\""), "{answer:?}");
    visitor.page("/keys");
    let answer = visitor.post(&target, &[("confirm", "self")]);
    assert_eq!(answer.header("Location").as_deref(), Some("/sign-in?why=own"), "{answer:?}");
    assert_eq!(visitor.get("/keys").status, 303);
    assert_eq!(Visitor::new(shared.gateway()).sign_in(&key).status, 403);
}

#[test]
fn long_lists_are_sorted_searched_and_leafed_through() {
    let shared = shared();
    let gateway = shared.gateway();
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let answer = admin.post("/environments/new", &[("id", "long"), ("name", "Long list")]);
    assert_eq!(answer.header("Location").as_deref(), Some("/environments/long"), "{answer:?}");
    for number in 0..45 {
        // the search looks at access keys too, and no access key has a hyphen
        let name = format!("n-{number:02}");
        assert_eq!(admin.post("/keys/new?environment=long", &[("name", &name)]).status, 303);
    }
    let names = |page: &str| -> Vec<String> {
        let (_, section) = page.split_once("id=\"environment-keys-table\"").unwrap();
        let titles = section.split("title=\"n-").skip(1);
        titles.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let link = |page: &str, id: &str| -> Option<String> {
        let before =
            page.split(&format!("\" id=\"{id}\"")).next().filter(|before| before.len() < page.len())?;
        Some(before.rsplit("href=\"").next()?.replace("&#38;", "&").replace("&amp;", "&"))
    };
    let mut seen = Vec::new();
    let mut target = "/keys?environment=long&environment-sort=name&environment-order=down".to_owned();
    for _ in 0..10 {
        let page = admin.page(target.split('#').next().unwrap());
        assert!(page.contains("aria-sort=\"descending\""), "{page}");
        seen.extend(names(&page));
        assert!(page.contains("45 keys"), "{page}");
        match link(&page, "environment-keys-next") {
            Some(next) => target = next,
            None => break,
        }
    }
    // and back again
    let mut pages = 0;
    let mut last = names(&admin.page(target.split('#').next().unwrap()));
    while let Some(previous) =
        link(&admin.page(target.split('#').next().unwrap()), "environment-keys-previous")
    {
        target = previous;
        let page = names(&admin.page(target.split('#').next().unwrap()));
        assert_eq!(page.len(), 20);
        assert!(page.last() > last.first(), "{page:?} is not before {last:?}");
        (last, pages) = (page, pages + 1);
    }
    assert_eq!((pages, last.first().map(String::as_str)), (2, Some("44")));
    let expected: Vec<_> = (0..45).rev().map(|number| format!("{number:02}")).collect();
    assert_eq!(seen, expected);
    assert_eq!(names(&admin.page("/keys?environment=long&environment-limit=100")).len(), 45);
    assert_eq!(names(&admin.page("/keys?environment=long&environment-search=N-4")).len(), 5);
    for odd in ["environment-after=m1", "environment-after=bWFya2Vy", "environment-after="] {
        let answer = admin.get(&format!("/keys?environment=long&{odd}"));
        assert!([200, 422].contains(&answer.status), "{odd}: {answer:?}");
        assert!(answer.text().starts_with("<!DOCTYPE html>"));
    }
}

#[test]
fn a_used_key_shows_when_and_from_where() {
    let shared = shared();
    let visitor = Visitor::signed_in(shared.gateway(), &shared.alice);
    let key = visitor.create_key("environment=e1", &marker());
    shared.stage.passes(Request::get("/v1/projects/e1/hosts").key(&key));
    // last uses are saved every few seconds
    wait_for(PATIENCE, "the use is shown", || {
        let page = visitor.page(&format!("/keys/{}", key.id));
        page.contains("class=\"used\"") && page.contains("<span class=\"address\">127.")
    });
}

#[test]
fn a_key_that_is_not_confirmed_yet_is_shown_as_that_and_its_secret_all_the_same() {
    let stage = Stage::start();
    let visitor = Visitor::signed_in(&stage.gateway, &stage.gateway.admin);
    let token = visitor.form_token();
    // a second gateway that reads the same store, and never says that it has applied anything
    let other = "INSERT INTO gateways SELECT '5b7d0a90-19aa-4b70-9f04-8a0b1a4be7a2', 'other', started, 0, boot, process,
                 lease_until + 600000, 0 FROM gateways LIMIT 1";
    let store = rusqlite::Connection::open(stage.gateway.directory().join("portcullis.db")).unwrap();
    store.busy_timeout(PATIENCE).unwrap();
    wait_for(PATIENCE, "the gateway has a row to copy", || store.execute(other, ()).unwrap() == 1);
    // both at once: each answer is waited for as long as the gateway hopes
    let api = Api::admin(&stage.gateway);
    let (answer, made) = std::thread::scope(|scope| {
        let made = scope.spawn(|| api.create("/v2-beta/projects/e1/apikeys", &json!({})));
        let answer = visitor.post_bare("/keys/new", &[("form_token", &token), ("name", "late")]);
        (answer, made.join().unwrap())
    });
    assert_eq!((&made["state"], &made["transitioning"]), (&json!("activating"), &json!("yes")));
    assert_eq!(answer.status, 303, "{answer:?}");
    let page = visitor.page(&answer.header("Location").unwrap());
    let notice = text_of(&page, "notice");
    assert!(page.contains(r#"id="notice" data-tone="pending""#), "{page}");
    assert!(notice.contains("late") && notice.contains("not yet confirmed by"), "{notice}");
    assert!(!notice.contains("is active"), "it is not yet: {notice}");
    assert!(
        !notice.to_lowercase().contains("reload"),
        "a page that shows a secret once is not reloaded: {notice}"
    );
    assert!(!text_of(&page, "secret-key").is_empty());
}
