//! The browser harness of the tests, on a page of its own.

mod support;

use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};
use support::browser::{Browser, Colours, Cookie, Screen, keys, png_size};
use support::certificates::{self, Authority};
use support::raw_upstream::{self, RawUpstream};
use support::{PATIENCE, wait_for};

const PAGE: &str = r#"<!doctype html>
<html lang="en"><head><title>A small page</title><meta name="viewport" content="width=device-width, initial-scale=1">
<style nonce="n">
  body { background: rgb(255, 255, 255); color: rgb(0, 0, 0); margin: 0; height: 3000px }
  h1 { margin: 0 }
  @media (prefers-color-scheme: dark) { body { background: rgb(10, 10, 10); color: rgb(240, 240, 240) } }
  .hidden { display: none }
</style></head>
<body>
<h1>Keys &amp; locks</h1>
<form action="/sent" method="get" id="form">
  <label for="name">Name</label> <input id="name" name="name" value="old" required>
  <label><input type="checkbox" id="box" name="box"> A box</label>
  <button id="send">Send</button>
</form>
<p id="later" class="hidden">Now it is seen</p>
<button id="show" type="button" aria-label="Show the paragraph">…</button>
<button id="ask" type="button">Ask</button>
<button id="copy" type="button">Copy</button>
<p id="answer"></p>
<p id="key"></p>
<script nonce="n">
  const at = (id) => document.getElementById(id);
  at('show').onclick = () => setTimeout(() => at('later').classList.remove('hidden'), 150);
  at('ask').onclick = () => { at('answer').textContent = confirm('Really?') ? 'yes' : 'no' };
  at('copy').onclick = () => navigator.clipboard.writeText('pce_copied').then(
    () => at('answer').textContent = 'copied');
  document.onkeydown = (event) => at('key').textContent = event.key;
</script>
<script>document.title = 'the policy did not hold';</script>
</body></html>"#;

const POLICY: &str = "default-src 'none'; script-src 'nonce-n'; style-src 'nonce-n'; form-action 'self'";

fn answer(request: &[String], stream: &mut impl Write) -> std::io::Result<()> {
    let target = request.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let body = match target {
        "/" => PAGE.to_owned(),
        target if target.starts_with("/sent") => {
            format!("<!doctype html><title>Sent</title><p id=target>{}</p>", target.replace('&', "&amp;"))
        }
        "/host" => {
            let host = request.iter().find(|line| line.starts_with("Host:")).cloned().unwrap_or_default();
            format!("<!doctype html><title>Host</title><p id=host>{host}</p>")
        }
        _ => String::new(),
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Security-Policy: {POLICY}\r\n\
         Set-Cookie: session=s1; Path=/; HttpOnly; SameSite=Strict\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn site() -> SocketAddr {
    RawUpstream::start(|_, mut reader| {
        let request = raw_upstream::head(&mut reader)?;
        answer(&request, &mut reader.into_inner())
    })
    .address()
}

#[track_caller]
fn on_the_page() -> Browser {
    let browser = Browser::start();
    browser.open(&format!("http://{}/", site()));
    browser
}

#[test]
fn reads_a_page_and_fills_in_its_form() {
    let browser = on_the_page();
    assert_eq!(browser.title(), "A small page");
    assert!(browser.url().starts_with("http://127.0.0.1:") && browser.url().ends_with('/'));
    assert_eq!(browser.find("h1").text(), "Keys & locks");
    assert!(browser.find_now("#nowhere").is_none() && browser.find_all("button").len() == 4);

    let name = browser.find("#name");
    assert_eq!(name.attribute("value").as_deref(), Some("old"));
    assert_eq!(name.attribute("nothing"), None);
    name.clear();
    name.type_text("naïve <b>“key”</b> 钥匙");
    assert_eq!(name.value(), "naïve <b>“key”</b> 钥匙");
    assert_eq!(name.attribute("value").as_deref(), Some("old"), "the attribute is what the document said");
    let tick = browser.find("#box");
    assert_eq!(tick.property("checked"), false);
    tick.click();
    assert_eq!(tick.property("checked"), true);

    browser.find("#send").click();
    assert!(browser.find("#target").text().ends_with("&box=on"));
    assert_eq!(browser.title(), "Sent");
    browser.back();
    browser.find("#form").submit();
    browser.wait_until("the form was sent", |browser| browser.title() == "Sent");
    browser.reload();
    assert!(browser.source().contains("/sent?name="));
}

#[test]
fn waits_for_what_is_not_seen_yet() {
    let browser = on_the_page();
    assert!(!browser.find("#later").is_visible());
    browser.find("#show").click();
    assert_eq!(browser.see("#later").text(), "Now it is seen");
}

#[test]
fn is_used_by_keyboard_and_as_a_screen_reader_sees_it() {
    let browser = on_the_page();
    assert_eq!(browser.focused().property("tagName"), "BODY");
    browser.press(&[keys::TAB]);
    assert_eq!(browser.focused().property("id"), "name");
    assert_eq!((browser.focused().role().as_str(), browser.focused().label().as_str()), ("textbox", "Name"));
    browser.press(&[keys::TAB]);
    browser.press(&[keys::SPACE]);
    assert_eq!(browser.find("#box").property("checked"), true);
    browser.press(&[keys::ESCAPE]);
    assert_eq!(browser.find("#key").text(), "Escape");
    browser.press(&[keys::SHIFT, keys::TAB]);
    assert!(browser.find("#name").is_focused());
    assert_eq!(browser.find("#show").label(), "Show the paragraph");
    browser.press(&[keys::ENTER]);
    browser.wait_until("Enter sent the form", |browser| browser.title() == "Sent");
}

#[test]
fn sees_what_the_content_security_policy_blocked() {
    let browser = on_the_page();
    let blocked = browser.console();
    let seen = blocked.iter().find(|line| line.source == "security" && line.level == "SEVERE");
    assert!(seen.is_some_and(|line| line.message.contains("script-src")), "{blocked:?}");
    assert!(browser.console().is_empty(), "told once");
    browser.run("console.error('from a script', 7)", &[]);
    let said = browser.console();
    assert!(said[0].source == "console-api" && said[0].message.contains("from a script"), "{said:?}");
}

#[test]
fn runs_scripts_and_gets_json() {
    let browser = on_the_page();
    let sum = browser.run("return { sum: arguments[0] + 1, list: [null, 'x'] }", &[json!(41)]);
    assert_eq!(sum, json!({ "sum": 42, "list": [null, "x"] }));
    assert_eq!(browser.run("return Promise.resolve(3)", &[]), 3);
    assert_eq!(browser.run("1 + 1", &[]), Value::Null);
    let tag = browser.run("return arguments[0].tagName", &[browser.find("h1").reference()]);
    assert_eq!(tag, "H1");
}

#[test]
fn opens_a_page_whose_scripts_are_off() {
    let browser = Browser::start();
    browser.scripts(false);
    browser.open(&format!("http://{}/", site()));
    browser.find("#show").click();
    browser.press(&[keys::ESCAPE]);
    assert_eq!(browser.find("#key").text(), "", "no script of the page ran");
    assert!(!browser.find("#later").is_visible());
    browser.find("#name").type_text("er");
    assert_eq!(browser.find("#name").value(), "older");
    browser.find("#send").click();
    assert_eq!(browser.find("#target").text(), "/sent?name=older");
}

#[test]
fn answers_dialogs() {
    let browser = on_the_page();
    browser.find("#ask").click();
    assert_eq!(browser.dialog(), "Really?");
    browser.dismiss();
    assert_eq!(browser.find("#answer").text(), "no");
    browser.find("#ask").click();
    assert_eq!(browser.dialog(), "Really?");
    browser.accept();
    assert_eq!(browser.find("#answer").text(), "yes");
}

#[test]
fn reads_what_a_button_copied() {
    let browser = on_the_page();
    browser.find("#copy").click();
    browser.wait_until("it was copied", |browser| browser.find("#answer").text() == "copied");
    assert_eq!(browser.clipboard(), "pce_copied");
}

#[test]
fn sees_cookies_with_their_flags_and_deletes_them() {
    let browser = on_the_page();
    let cookie = browser.cookie("session").expect("the cookie");
    let expected = Cookie {
        name: "session".to_owned(),
        value: "s1".to_owned(),
        path: "/".to_owned(),
        domain: "127.0.0.1".to_owned(),
        secure: false,
        http_only: true,
        same_site: "Strict".to_owned(),
        expiry: None,
    };
    assert_eq!(cookie, expected);
    assert_eq!(browser.run("return document.cookie", &[]), "", "scripts cannot see it");
    browser.delete_cookie("session");
    assert_eq!(browser.cookies(), []);
}

#[test]
fn shows_dark_colours_and_a_telephone_and_keeps_pictures() {
    let browser = on_the_page();
    let width = |browser: &Browser| browser.run("return [innerWidth, innerHeight, devicePixelRatio]", &[]);
    let media = |browser: &Browser, query: &str| {
        browser.run("return matchMedia(arguments[0]).matches", &[json!(query)]) == true
    };
    assert_eq!(width(&browser), json!([1280, 800, 1]));
    assert!(media(&browser, "(prefers-color-scheme: light)") && !media(&browser, "(pointer: coarse)"));
    assert_eq!(browser.find("body").style("background-color"), "rgba(255, 255, 255, 1)");
    let picture = browser.screenshot("harness-desktop");
    assert_eq!(png_size(&picture), (1280, 800));

    browser.screen(Screen::Phone);
    browser.colours(Colours::Dark);
    browser.reload();
    assert_eq!(width(&browser), json!([390, 844, 2]));
    assert!(media(&browser, "(prefers-color-scheme: dark)") && media(&browser, "(pointer: coarse)"));
    assert_eq!(browser.find("body").style("background-color"), "rgba(10, 10, 10, 1)");
    assert_eq!(png_size(&browser.screenshot("harness-phone-dark")), Screen::Phone.pixels());
    assert_eq!(png_size(&browser.screenshot_whole("harness-phone-dark-whole")), (780, 6000));

    browser.screen(Screen::Desktop(500, 300));
    assert_eq!(png_size(&browser.screenshot("harness-small")), (500, 300));
}

#[test]
fn opens_pages_over_tls_with_a_certificate_of_ones_own() {
    let folder = tempfile::tempdir().expect("a directory");
    let files = Authority::new(folder.path()).sign(&["elsewhere.test"]);
    let config = Arc::new(certificates::server(&files, &["http/1.1"]));
    let server = RawUpstream::start(move |_, reader| {
        let tls = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        let mut reader = BufReader::new(StreamOwned::new(tls, reader.into_inner()));
        let request = raw_upstream::head(&mut reader)?;
        let mut stream = reader.into_inner();
        answer(&request, &mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    });
    let browser = Browser::start();
    browser.open(&format!("https://localhost:{}/", server.address().port()));
    assert_eq!(browser.title(), "A small page");
}

#[test]
fn reaches_this_machine_alone_under_foreign_names_too() {
    let port = site().port();
    let browser = Browser::start();
    browser.open(&format!("http://rebound.test:{port}/host"));
    assert_eq!(browser.find("#host").text(), format!("Host: rebound.test:{port}"));
    let elsewhere =
        browser.session().call("POST", "/url", Some(&json!({ "url": "http://gateway.invalid/" })));
    let refused = elsewhere.expect_err("no name but ours is resolved");
    assert!(refused.message.contains("ERR_NAME_NOT_RESOLVED"), "{refused:?}");
}

#[test]
fn ends_driver_and_browser_when_a_test_fails() {
    // empty for a process that has ended, be it waited for or not
    let command_line = |pid: u64| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let (told, started) = std::sync::mpsc::channel();
    let failed = std::thread::spawn(move || {
        let browser = Browser::start();
        let session = browser.session();
        let pids = [u64::from(session.driver_pid()), session.browser_pid()];
        told.send((pids, session.profile().to_owned())).expect("the test listens");
        panic!("a test fails");
    });
    let (pids, profile) = started.recv().expect("the browser started");
    assert!(failed.join().is_err());
    for pid in pids {
        wait_for(PATIENCE, "driver and browser have ended", || command_line(pid).is_empty());
    }
    assert!(!profile.exists(), "{} is still there", profile.display());
}
