//! Signing in and out, and how sessions end.

use std::time::{Duration, Instant};

use crate::shared;
use crate::support::cli::Key;
use crate::support::http1::Request;
use crate::support::stage::Stage;
use crate::support::tls;
use crate::visitor::{Visitor, encoded, text_of};

const WRONG: &str = "Wrong access key or secret key, or the key is not active.";

#[test]
fn a_stranger_is_sent_to_the_sign_in_page_and_from_there_to_what_was_asked_for() {
    let visitor = Visitor::new(shared().gateway());
    let answer = visitor.get("/keys?environment=e1");
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header("Location").as_deref(), Some("/sign-in?to=%2Fkeys%3Fenvironment%3De1"));
    let page = visitor.page("/sign-in?to=%2Fkeys%3Fenvironment%3De1");
    assert!(page.contains(r#"name="to" value="/keys?environment=e1""#), "{page}");
    assert!(page.contains(r#"autocomplete="username""#), "{page}");
    assert!(page.contains(r#"type="password" autocomplete="current-password""#), "{page}");
    let key = &shared().alice;
    let answer = visitor.post_bare(
        "/sign-in",
        &[
            ("to", "/keys?environment=e1"),
            ("access_key", &format!(" {} ", key.access_key)),
            ("secret_key", &key.secret),
        ],
    );
    assert_eq!((answer.status, answer.header("Location").as_deref()), (303, Some("/keys?environment=e1")));
    assert!(visitor.page("/keys").contains("Account API keys"));
    assert_eq!(visitor.get("/sign-in").status, 303, "who has signed in need not do so again");
}

#[test]
fn nobody_is_sent_to_another_site_after_signing_in() {
    let visitor = Visitor::new(shared().gateway());
    let key = &shared().alice;
    for to in ["//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)", "/\t/evil.test"] {
        let fields = [("to", to), ("access_key", &key.access_key), ("secret_key", &key.secret)];
        let answer = visitor.post_bare("/sign-in", &fields);
        assert_eq!((answer.status, answer.header("Location").as_deref()), (303, Some("/")), "{to}");
        let page = Visitor::new(shared().gateway()).page(&format!("/sign-in?{}", encoded(&[("to", to)])));
        assert!(page.contains(r#"name="to" value="/""#), "{to}: {page}");
    }
}

#[test]
fn the_cookie_is_for_this_host_alone_and_no_script_reads_it() {
    let visitor = Visitor::new(shared().gateway());
    let answer = visitor.sign_in(&shared().alice);
    let cookie = answer.header("Set-Cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("portcullis=") && pair.len() > 50, "{cookie}");
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");
    assert_eq!(answer.header("Cache-Control").as_deref(), Some("no-store"));
}

#[test]
fn over_tls_the_cookie_never_goes_out_in_clear() {
    let upstream = crate::support::upstream::Upstream::start();
    let site = crate::support::gateway::Plan::new(&upstream).prepare();
    let plain = std::fs::read_to_string(site.config()).unwrap();
    let tls = plain.replace(
        "management:\n  address: 127.0.0.1:0\n",
        "management:\n  address: 127.0.0.1:0\n  tls: { certificates: [ { certificate: certs/gateway.pem, key: \
         certs/gateway.key } ] }\n",
    );
    assert_ne!(plain, tls);
    std::fs::write(site.config(), tls).unwrap();
    let gateway = site.start();
    let host = format!("localhost:{}", gateway.management().port());
    let key = &gateway.admin;
    let body = encoded(&[("access_key", &key.access_key), ("secret_key", &key.secret)]);
    let send = |origin: String| {
        let mut client = tls::connect(gateway.management());
        let request =
            Request::without_host("POST", "/sign-in").header("Host", &host).header("Origin", origin);
        client.send(request.body(&body));
        client.read()
    };
    assert_eq!(send(format!("http://{host}")).status, 403, "another scheme is another origin");
    let answer = send(format!("https://{host}"));
    let cookie = answer.header("Set-Cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-portcullis="), "{cookie}");
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict; Secure");
}

#[test]
fn whatever_is_wrong_with_a_pair_it_is_told_in_the_same_words_and_time() {
    let shared = shared();
    let removed = shared.gateway().create_account_key("alice");
    shared.gateway().succeed(&["key", "deactivate", &removed.id]);
    shared.gateway().succeed(&["key", "delete", &removed.id]);
    let unknown =
        Key { access_key: "pca_00000000000000000000".to_owned(), ..shared.alice.with_wrong_secret() };
    let chosen = Key { id: String::new(), access_key: "somebody".to_owned(), secret: "something".to_owned() };
    let odd = Key { access_key: "some:body".to_owned(), ..chosen.clone() };
    for key in [shared.alice.with_wrong_secret(), unknown, removed, chosen.clone(), odd] {
        let visitor = Visitor::new(shared.gateway());
        let began = Instant::now();
        let answer = visitor.sign_in(&key);
        assert_eq!(answer.status, 403, "{key:?}: {answer:?}");
        let page = answer.text();
        assert!(text_of(&page, "problem").starts_with(WRONG), "{key:?}: {page}");
        assert!(!page.contains(&key.secret), "the page shows the secret again: {page}");
        assert!(visitor.cookie().is_none() && answer.header("WWW-Authenticate").is_none(), "{answer:?}");
        if key.access_key == chosen.access_key {
            assert!(
                began.elapsed() >= Duration::from_millis(240),
                "it was refused after {:?}",
                began.elapsed()
            );
        }
    }
}

#[test]
fn an_environment_key_is_told_what_the_page_is_for() {
    let shared = shared();
    let visitor = Visitor::new(shared.gateway());
    let answer = visitor.sign_in(&shared.stage.e1);
    assert_eq!(answer.status, 403);
    assert!(text_of(&answer.text(), "problem").starts_with("This is an environment key."), "{answer:?}");
    assert!(visitor.cookie().is_none());
}

#[test]
fn failed_attempts_are_throttled_and_a_right_pair_still_opens() {
    let stage = Stage::with(|plan| plan.top("throttle: { failures: 3, window: 60s, block: 60s }"));
    let visitor = Visitor::new(&stage.gateway);
    let wrong = stage.gateway.admin.with_wrong_secret();
    let throttled = (0..10).map(|_| visitor.sign_in(&wrong)).find(|answer| answer.status == 429);
    let answer = throttled.expect("ten wrong pairs were not throttled");
    let after: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    assert!(text_of(&answer.text(), "problem").starts_with("Too many failed attempts"), "{answer:?}");
    // the same throttle as the proxy's and the API's
    let unreadable = visitor.post_bare("/sign-in", &[("access_key", "a"), ("secret_key", "")]);
    assert_eq!(unreadable.status, 429, "{unreadable:?}");
    assert_eq!(visitor.sign_in(&stage.gateway.admin).status, 303);
}

#[test]
fn every_sign_in_begins_a_session_of_its_own() {
    let visitor = Visitor::new(shared().gateway());
    visitor.set_cookie("portcullis=chosen-by-somebody-else");
    visitor.sign_in(&shared().alice);
    let first = visitor.cookie().unwrap();
    assert_ne!(first, "portcullis=chosen-by-somebody-else");
    let token = visitor.form_token();
    visitor.sign_in(&shared().alice);
    let second = visitor.cookie().unwrap();
    assert_ne!(first, second);
    assert_ne!(token, visitor.form_token());
    visitor.set_cookie(&first);
    assert_eq!(visitor.get("/keys").status, 303, "the session before goes on");
}

#[test]
fn signing_out_ends_the_session_and_is_no_link() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let cookie = visitor.cookie().unwrap();
    assert_eq!(visitor.get("/sign-out").status, 405);
    let answer = visitor.post("/sign-out", &[]);
    assert_eq!(answer.header("Location").as_deref(), Some("/sign-in?why=signed-out"), "{answer:?}");
    assert_eq!(
        answer.header("Set-Cookie").as_deref(),
        Some("portcullis=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    );
    visitor.set_cookie(&cookie);
    let answer = visitor.get("/keys");
    assert_eq!(answer.header("Location").as_deref(), Some("/sign-in?to=%2Fkeys&why=time"), "{answer:?}");
}

#[test]
fn a_session_ends_with_its_key_and_says_why() {
    let shared = shared();
    let key = shared.gateway().create_account_key("alice");
    let visitor = Visitor::signed_in(shared.gateway(), &key);
    visitor.page("/keys");
    shared.gateway().succeed(&["key", "deactivate", &key.id]);
    ended(&visitor);
    // it stays over when the key works again
    shared.gateway().succeed(&["key", "activate", &key.id]);
    assert_eq!(visitor.get("/keys").status, 303);
}

#[test]
fn what_was_typed_survives_a_second_session_in_another_tab() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let name = crate::support::marker();
    let token = visitor.form_token();
    visitor.sign_in(&shared().alice);
    let fields = [("name", name.as_str()), ("description", "two\nlines"), ("form_token", &token)];
    let answer = visitor.post_bare("/keys/new", &fields);
    assert_eq!(answer.status, 403, "{answer:?}");
    let page = answer.text();
    assert!(page.contains(&format!("value=\"{name}\"")) && page.contains("two\nlines</textarea>"), "{page}");
    assert!(page.contains("so nothing was changed"), "{page}");
    let empty = visitor.page(&format!("/keys?account-search={name}"));
    assert!(empty.contains("account-keys-empty"), "{empty}");
    // sent again as it stands there, it is this session's
    let token = crate::visitor::value_of(&page, "form_token").expect("a token");
    let fields = [("name", name.as_str()), ("form_token", &token)];
    assert_eq!(visitor.post_bare("/keys/new", &fields).status, 303);
}

#[test]
fn what_was_typed_survives_the_end_of_the_session() {
    let shared = shared();
    let visitor = Visitor::signed_in(shared.gateway(), &shared.alice);
    let target = "/keys/new?environment=e1";
    let typed = [("name", "typed <b>"), ("description", "two\nlines"), ("secret_key", "never kept")];
    let token = visitor.form_token();
    visitor.post("/sign-out", &[]);
    let fields = [&typed[..], &[("form_token", token.as_str())]].concat();
    let answer = visitor.post_bare(target, &fields);
    assert_eq!(answer.status, 403, "{answer:?}");
    let page = answer.text();
    assert!(page.contains("id=\"kept\"") && !page.contains("never kept") && !page.contains(&token), "{page}");
    let sent = |key: &Key, secret: &str| {
        let kept: Vec<_> = ["typed_name", "typed_description", "to"]
            .map(|name| {
                (
                    name,
                    crate::visitor::value_of(&page, name)
                        .unwrap()
                        .replace("&#60;", "<")
                        .replace("&#62;", ">"),
                )
            })
            .to_vec();
        let mut fields: Vec<_> = kept.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fields.extend([("access_key", key.access_key.as_str()), ("secret_key", secret)]);
        visitor.post_bare("/sign-in", &fields)
    };
    // a wrong pair loses nothing
    let wrong = sent(&shared.alice, &shared.alice.with_wrong_secret().secret);
    assert!(wrong.status == 403 && wrong.text().contains("name=\"typed_name\""), "{wrong:?}");
    let answer = sent(&shared.alice, &shared.alice.secret);
    assert_eq!(answer.header("Location").as_deref(), Some(target), "{answer:?}");
    let form = visitor.page(target);
    assert!(form.contains("value=\"typed &#60;b&#62;\"") && form.contains("two\nlines</textarea>"), "{form}");
    assert!(form.contains("id=\"new-key-restored\""), "{form}");
    assert!(!visitor.page(target).contains("typed &#60;b"), "it is shown once");
    // what has nothing typed in it is not asked again
    let stranger = Visitor::new(shared.gateway());
    assert_eq!(stranger.post_bare("/keys/1c1/deactivate", &[]).status, 303);
}

#[test]
fn a_session_ends_with_its_account() {
    let shared = shared();
    shared.gateway().create_account("mallory", "user");
    let key = shared.gateway().create_account_key("mallory");
    let visitor = Visitor::signed_in(shared.gateway(), &key);
    shared.gateway().succeed(&["account", "deactivate", "mallory"]);
    ended(&visitor);
}

/// The next request finds the session over; a command's change is in force within a moment.
#[track_caller]
fn ended(visitor: &Visitor<'_>) {
    let cookie = visitor.cookie().unwrap();
    let mut answer = visitor.get("/keys");
    crate::support::wait_for(crate::support::PATIENCE, "the session ends", || {
        if answer.status == 200 {
            visitor.set_cookie(&cookie);
            answer = visitor.get("/keys");
        }
        answer.status == 303
    });
    let location = answer.header("Location").unwrap();
    assert_eq!(location, "/sign-in?to=%2Fkeys&why=key");
    let page = visitor.page(&location);
    assert!(text_of(&page, "why").contains("no longer works"), "{page}");
    visitor.set_cookie(&cookie);
}

#[test]
fn an_account_that_becomes_less_loses_the_pages_at_once() {
    let shared = shared();
    shared.gateway().create_account("newcomer", "user");
    let key = shared.gateway().create_account_key("newcomer");
    let visitor = Visitor::signed_in(shared.gateway(), &key);
    assert_eq!(visitor.get("/environments/e1").status, 404);
    let admin = Visitor::signed_in(shared.gateway(), &shared.gateway().admin);
    let add = [("externalId", "newcomer"), ("role", "member")];
    assert_eq!(admin.post("/environments/e1/members/add", &add).status, 303);
    assert_eq!(visitor.get("/environments/e1").status, 200);
    let location = admin.page("/environments/e1");
    let id = location.split("/members/").find_map(|rest| {
        let (id, rest) = rest.split_once('/')?;
        (rest.starts_with("remove")
            && location.contains(&format!("data-id=\"{id}\""))
            && id != shared.alice_id)
            .then(|| id.to_owned())
    });
    let answer = admin.post(&format!("/environments/e1/members/{}/remove", id.unwrap()), &[]);
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(visitor.get("/environments/e1").status, 404);
}
