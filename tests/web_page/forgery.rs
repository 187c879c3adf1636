//! Case 90: what other sites' pages could make a browser send, and names that are not this listener's.

use crate::shared;
use crate::support::http1::Request;
use crate::support::{marker, wait_for};
use crate::visitor::{Visitor, encoded};

/// That nothing was made under this name.
#[track_caller]
fn assert_nothing_made(visitor: &Visitor<'_>, name: &str) {
    let page = visitor.page(&format!("/keys?account-search={name}"));
    assert!(page.contains("account-keys-empty"), "a forged form has made a key: {page}");
}

#[test]
fn case_90_a_form_without_the_sessions_token_does_nothing() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let other = Visitor::signed_in(shared().gateway(), &shared().gateway().admin);
    let name = marker();
    let own = visitor.form_token();
    let foreign = other.form_token();
    let shorter = &own[..own.len() - 1];
    let nearly = own.chars().rev().collect::<String>();
    for token in [None, Some(""), Some("x"), Some(shorter), Some(&nearly), Some(&foreign)] {
        let mut fields = vec![("name", name.as_str())];
        fields.extend(token.map(|token| ("form_token", token)));
        let answer = visitor.post_bare("/keys/new", &fields);
        assert_eq!(answer.status, 403, "{token:?}: {answer:?}");
        assert!(answer.text().contains("does not belong to this session"), "{answer:?}");
    }
    // given twice, it is not clear which one counts
    let twice = [("form_token", own.as_str()), ("form_token", own.as_str()), ("name", &name)];
    assert_eq!(visitor.post_bare("/keys/new", &twice).status, 403);
    // nor does it count in the address
    let target = format!("/keys/new?{}", encoded(&[("form_token", &own)]));
    assert_eq!(visitor.post_bare(&target, &[("name", &name)]).status, 403);
    assert_nothing_made(&visitor, &name);
}

#[test]
fn case_90_a_form_from_another_origin_does_nothing_even_with_the_token() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let name = marker();
    let token = visitor.form_token();
    let body = encoded(&[("form_token", &token), ("name", &name)]);
    let own = format!("http://{}", visitor.host());
    let port = visitor.gateway.management().port();
    let forged: [&[(&str, &str)]; 9] = [
        &[("Origin", "http://evil.test")],
        &[("Origin", "null")],
        &[("Origin", "")],
        &[("Origin", &format!("https://{}", visitor.host()))],
        &[("Origin", &format!("http://localhost:{port}"))],
        &[("Origin", &own), ("Origin", "http://evil.test")],
        &[("Origin", &own), ("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "none")],
    ];
    for headers in forged {
        let mut request = visitor.request("POST", "/keys/new");
        for (header, value) in headers {
            request = request.header(header, value);
        }
        let answer = visitor.send(request.body(&body));
        assert_eq!(answer.status, 403, "{headers:?}: {answer:?}");
    }
    assert_nothing_made(&visitor, &name);
    // the same from our own page, and from a client that says nothing of either
    for headers in [&[("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")][..], &[]] {
        let mut request = visitor.request("POST", "/keys/new");
        for (header, value) in headers {
            request = request.header(header, value);
        }
        assert_eq!(visitor.send(request.body(&body)).status, 303, "{headers:?}");
    }
}

#[test]
fn case_90_nobody_is_signed_in_by_another_sites_form() {
    let visitor = Visitor::new(shared().gateway());
    let key = &shared().alice;
    let body = encoded(&[("access_key", &key.access_key), ("secret_key", &key.secret)]);
    for (header, value) in
        [("Origin", "http://evil.test"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")]
    {
        let answer = visitor.send(visitor.request("POST", "/sign-in").header(header, value).body(&body));
        assert_eq!(answer.status, 403, "{header}: {value}");
        assert!(visitor.cookie().is_none());
    }
}

#[test]
fn case_90_pages_are_not_fetched_or_embedded_by_others() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let get = |site: &str, mode: &str| {
        let request = visitor.request("GET", "/keys");
        visitor.send(request.header("Sec-Fetch-Site", site).header("Sec-Fetch-Mode", mode).end())
    };
    for (site, mode) in [("cross-site", "no-cors"), ("same-site", "cors"), ("cross-site", "websocket")] {
        assert_eq!(get(site, mode).status, 403, "{site} {mode}");
    }
    for (site, mode) in [("none", "navigate"), ("cross-site", "navigate"), ("same-origin", "cors")] {
        let answer = get(site, mode);
        assert_eq!(answer.status, 200, "{site} {mode}");
        assert_eq!(answer.header("X-Frame-Options").as_deref(), Some("DENY"));
        assert!(answer.all("Access-Control-Allow-Origin").is_empty());
    }
}

#[test]
fn case_90_a_name_that_was_pointed_here_is_refused() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let cookie = visitor.cookie().unwrap();
    let port = visitor.gateway.management().port();
    for host in ["evil.test", &format!("evil.test:{port}"), "127.0.0.1.evil.test"] {
        for target in ["/", "/keys", "/sign-in", "/nothing"] {
            let request = Request::without_host("GET", target).header("Host", host).header("Cookie", &cookie);
            let answer = visitor.send(request.end());
            assert_eq!(answer.status, 421, "{host}{target}");
            let page = answer.text();
            assert!(page.starts_with("<!DOCTYPE html>") && page.contains("management.hosts"), "{page}");
            assert!(!page.contains("alice"), "{page}");
        }
    }
}

#[test]
fn only_get_head_and_post_are_answered() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let answer = visitor.send(visitor.request(method, "/keys").end());
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("Allow").as_deref(), Some("GET, HEAD, POST"));
    }
    for target in ["/", "/keys", "/audit", "/environments/e1"] {
        let answer = visitor.post(target, &[]);
        assert_eq!((answer.status, answer.header("Allow").as_deref()), (405, Some("GET, HEAD")), "{target}");
    }
    let head = visitor.send(visitor.request("HEAD", "/keys").end());
    assert_eq!(head.status, 200);
}

#[test]
fn a_body_that_is_too_large_is_refused_with_a_page() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let answer = visitor.post("/keys/new", &[("name", &"x".repeat(1 << 20))]);
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.text().starts_with("<!DOCTYPE html>"));
    wait_for(crate::support::PATIENCE, "the listener goes on", || visitor.get("/keys").status == 200);
}
