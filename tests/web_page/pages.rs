//! What every page has: headers, no external resource, and its parts for all who use it.

use crate::shared;
use crate::support::http1::Response;
use crate::visitor::Visitor;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn assert_protected(answer: &Response) {
    for (name, value) in [
        ("Content-Security-Policy", POLICY),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("X-Content-Type-Options", "nosniff"),
    ] {
        assert_eq!(answer.header(name).as_deref(), Some(value), "{answer:?}");
    }
    assert!(answer.header("X-Request-Id").is_some());
}

/// Every page, as an admin sees it.
fn pages() -> Vec<String> {
    let key = &shared().stage.e1.id;
    let alice = &shared().alice_id;
    let mut pages: Vec<String> = ["/", "/keys", "/keys?environment=e1", "/environments", "/environments/new"]
        .into_iter()
        .chain(["/environments/e1", "/environments/e1/edit", "/environments/e1/deactivate"])
        .chain(["/environments/e1/members/add", "/accounts", "/accounts/new", "/audit", "/keys/new"])
        .chain([
            "/nothing",
            "/keys/1c999999",
            "/search?q=e",
            "/keys/deactivate?key=1c1",
            "/audit?object=alice&from=2026-01-01",
        ])
        .map(str::to_owned)
        .collect();
    for verb in ["", "/edit", "/deactivate", "/delete", "/created"] {
        pages.push(format!("/keys/{key}{verb}"));
    }
    for verb in ["", "/edit", "/deactivate", "/delete"] {
        pages.push(format!("/accounts/{alice}{verb}"));
    }
    for verb in ["role", "remove"] {
        pages.push(format!("/environments/e1/members/{alice}/{verb}"));
    }
    pages
}

#[test]
fn every_page_is_protected_and_needs_nothing_from_elsewhere() {
    let admin = Visitor::signed_in(shared().gateway(), &shared().gateway().admin);
    let endpoint = format!("http://{}/", shared().gateway().http());
    let mut answers: Vec<(String, Response)> =
        pages().into_iter().map(|target| (target.clone(), admin.get(&target))).collect();
    let stranger = Visitor::new(shared().gateway());
    answers.push(("/sign-in".to_owned(), stranger.get("/sign-in")));
    answers.push(("/keys".to_owned(), stranger.get("/keys")));
    for (target, answer) in &answers {
        assert_protected(answer);
        assert_eq!(answer.header("Cache-Control").as_deref(), Some("no-store"), "{target}");
        assert!([200, 303, 404].contains(&answer.status), "{target}: {answer:?}");
        let page = answer.text();
        if answer.status == 303 {
            continue;
        }
        // addresses of the proxy are shown, and nothing is loaded from them
        let inner = page.replace(&endpoint, "/");
        for external in ["http:", "https:", "src=\"//", "href=\"//", "url(", "@import"] {
            assert!(!inner.contains(external), "{target} names {external}:\n{page}");
        }
        for inline in ["<style", " style=", " onclick", " onload", "javascript:", "<script>"] {
            assert!(!page.contains(inline), "{target} has {inline}:\n{page}");
        }
        for part in
            ["<html lang=\"en\">", "<title>", "<main id=\"main\"", "class=\"skip\"", "aria-live=\"polite\""]
        {
            assert!(page.contains(part), "{target} lacks {part}:\n{page}");
        }
        assert_eq!(page.matches("<h1").count(), 1, "{target}:\n{page}");
        let mut ids: Vec<&str> =
            page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{target} has an id twice:\n{page}");
        for label in page.split("<label for=\"").skip(1) {
            let wanted = label.split('"').next().unwrap();
            assert!(ids.contains(&wanted), "{target} has a label for nothing: {wanted}");
        }
    }
}

#[test]
fn every_form_that_is_sent_carries_the_token() {
    let admin = Visitor::signed_in(shared().gateway(), &shared().gateway().admin);
    let token = format!("name=\"form_token\" value=\"{}\"", admin.form_token());
    for target in pages() {
        let page = admin.get(&target).text();
        for form in page.split("<form ").skip(1) {
            let form = form.split("</form>").next().unwrap();
            let is_sent = form.split('>').next().unwrap().contains("method=\"post\"");
            assert_eq!(form.contains(&token), is_sent, "{target}:\n{form}");
        }
    }
}

#[test]
fn style_and_script_are_kept_for_ever_under_a_name_of_their_content() {
    let visitor = Visitor::new(shared().gateway());
    let page = visitor.page("/sign-in");
    let paths: Vec<&str> = page.split('"').filter(|text| text.starts_with("/static/")).collect();
    assert_eq!(paths.len(), 3, "{page}");
    for path in paths {
        let answer = visitor.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_protected(&answer);
        let forever = Some("public, max-age=31536000, immutable");
        assert_eq!(answer.header("Cache-Control").as_deref(), forever, "{path}");
        let text = answer.text();
        let kind = answer.header("Content-Type").unwrap();
        let ends = path.rsplit('.').next().unwrap();
        assert!(
            matches!(
                (ends, kind.split(';').next().unwrap()),
                ("css", "text/css") | ("js", "text/javascript") | ("svg", "image/svg+xml")
            ),
            "{path} {kind}"
        );
        assert!(
            !text.contains("https:") && !text.contains("@import") && !text.contains("innerHTML"),
            "{path}"
        );
    }
    assert_eq!(visitor.get("/static/page.0000000000000000.css").status, 303);
}

#[test]
fn a_refusal_is_a_page_with_the_requests_id() {
    let admin = Visitor::signed_in(shared().gateway(), &shared().gateway().admin);
    let answer = admin.get("/nothing");
    assert_eq!(answer.status, 404);
    let id = answer.header("X-Request-Id").unwrap();
    assert!(answer.text().contains(&format!("Request <code>{id}</code>")), "{answer:?}");
}

#[test]
fn the_audit_log_is_filtered_and_shows_what_changed() {
    let admin = Visitor::signed_in(shared().gateway(), &shared().gateway().admin);
    let key = admin.create_key("environment=e2", "audited");
    admin.post(&format!("/keys/{}/deactivate", key.id), &[]);
    let page = admin.page(&format!("/audit?type=key&object={}", key.id));
    assert_eq!(page.matches("data-id=\"1al").count(), 2, "{page}");
    let (newer, older) = (page.find("deactivate</span>").unwrap(), page.find("create</span>").unwrap());
    assert!(newer < older, "newest first: {page}");
    assert!(
        page.contains("<del>") && page.contains(">active</del>") && page.contains("inactive</ins>"),
        "{page}"
    );
    assert!(page.contains("by page from 127."), "{page}");
    let page = admin.page(&format!("/audit?type=key&object={}&action=create", key.id));
    assert_eq!(page.matches("data-id=\"1al").count(), 1, "{page}");
    let page = admin.page(&format!("/audit?object={}&outcome=refused", key.id));
    assert!(page.contains("entries-empty"), "{page}");
    let page =
        admin.page(&format!("/audit?key={}&actor=1a1&outcome=done", shared().gateway().admin.access_key));
    assert!(page.contains("data-id=\"1al"), "{page}");
}

#[test]
fn what_cannot_be_taken_back_is_said_before() {
    let gateway = shared().gateway();
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let id = crate::support::marker();
    gateway.create_environment(&id);
    let question = admin.page(&format!("/environments/{id}/delete"));
    assert!(question.contains(&format!("its id {id} can never be used again")), "{question}");
    let form = admin.page("/accounts/new");
    assert!(form.contains("user: reaches its environments, and what is open to every account"), "{form}");
}
