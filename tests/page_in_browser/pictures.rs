//! The pictures of `docs/images`: with `PORTCULLIS_DOC_PICTURES=1` they are made again, by a gateway that lives for
//! this and whose clock runs through an hour in two minutes. Without it, those that are there are looked at.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::page_checks::colours;
use crate::person::Person;
use crate::support::api::{Api, key_in};
use crate::support::browser::{Browser, Colours, Screen, pictures, png_size};
use crate::support::cli::Key;
use crate::support::clock::WallClock;
use crate::support::gateway::{Gateway, Plan};
use crate::support::http1::{Client, Request};
use crate::support::upstream::{Answer, Upstream};

/// The pictures, and how many pixels wide they are.
const PICTURES: [(&str, u32); 5] =
    [("keys", 1200), ("created", 1000), ("overview", 1200), ("audit", 1200), ("phone-dark", 390)];
/// Those of Prometheus's page, which `operation.md` shows. They were taken by hand, with Debian's Prometheus.
const OF_PROMETHEUS: [(&str, u32); 2] = [("prometheus-alert", 1280), ("prometheus-endpoints", 1280)];
/// So that the document loads at once, and the repository stays small.
const MOST_BYTES: u64 = 120 * 1024;
/// When the pictures are taken, on the gateway's clock.
const NOW: &str = "2026-03-05T10:40:20Z";
/// How long a minute lasts: the gateway takes a sample for its chart every two seconds.
const MINUTE: Duration = Duration::from_millis(2100);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images")
}

#[test]
fn the_documents_pictures_are_small_and_shown() {
    if std::env::var_os("PORTCULLIS_DOC_PICTURES").is_some() {
        take();
    }
    let document = |name| std::fs::read_to_string(folder().with_file_name(name)).unwrap();
    let (web_page, operation) = (document("web-page.md"), document("operation.md"));
    let shown = PICTURES.iter().map(|picture| (picture, &web_page));
    let shown: Vec<_> = shown.chain(OF_PROMETHEUS.iter().map(|picture| (picture, &operation))).collect();
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "png"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let mut expected: Vec<_> = shown.iter().map(|((name, _), _)| format!("{name}.png")).collect();
    expected.sort();
    assert_eq!(files, expected);
    for ((name, width), document) in shown {
        let file = folder().join(format!("{name}.png"));
        assert_eq!(png_size(&file).0, *width, "{name}");
        let bytes = std::fs::metadata(&file).unwrap().len();
        assert!(bytes <= MOST_BYTES, "{name} has {bytes} bytes");
        assert!(document.contains(&format!("](images/{name}.png)")), "no document shows {name}");
    }
}

/// Makes all of them.
fn take() {
    let upstream = Upstream::start();
    upstream.answer("/v1/projects/production/reports", Answer::BytesThenClose(Vec::new()));
    let site = Plan::new(&upstream)
        .top("public_url: https://api.example.com\ntrusted_proxies: [127.0.0.0/8]")
        .prepare();
    let clock = WallClock::in_directory(site.directory());
    let now: Timestamp = NOW.parse().unwrap();
    let ago = |ago: SignedDuration| clock.set(now - ago);
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let (variables, minutes) = (clock.environment(), 60);
    ago(days(40));
    let gateway = site.environment(variables).start();
    let api = Api::admin(&gateway);
    let keys = keys(&api, |before| ago(days(before)));
    for minute in 0..minutes {
        ago(SignedDuration::from_mins(minutes - 1 - minute));
        let ends = Instant::now() + MINUTE;
        traffic(&gateway, &keys, u32::try_from(minute).unwrap());
        std::thread::sleep(ends.saturating_duration_since(Instant::now()));
    }

    let person = Person::signed_in(&gateway, &gateway.admin);
    let browser = &person.browser;
    colours(browser, Colours::Light);
    browser.screen(Screen::Desktop(1200, 800));
    browser.wait_until("the uses are written down", |browser| {
        browser.reload();
        browser.find_all("#most-used-table tbody tr").len() >= 4
    });
    keep(browser, "overview", 1200, "#most-used");
    person.open("/audit");
    browser.find(".differences summary").click();
    keep(browser, "audit", 1200, "#entries-table tr:nth-child(4)");
    person.open("/keys?environment=production");
    browser.run("document.getElementById('account-keys').remove()", &[]);
    keep(browser, "keys", 1200, "#environment-keys");
    let (width, height) = Screen::Phone.points();
    browser.screen(Screen::Desktop(width, height));
    colours(browser, Colours::Dark);
    person.open("/keys?environment=production#environment-keys");
    keep_as_seen(browser, "phone-dark");
    colours(browser, Colours::Light);
    browser.screen(Screen::Desktop(1000, 800));
    person.open("/keys/new?environment=production");
    browser.see("#field-name").type_text("shop-front");
    browser.find("#new-key-submit").click();
    browser.see("#secret-key");
    keep(browser, "created", 1000, "#created");
}

/// Environments, accounts and keys that were made on different days; gives those that are used.
fn keys(api: &Api<'_>, it_is_days_ago: impl Fn(i64)) -> [Key; 4] {
    for (id, name) in [("production", "Production"), ("staging", "Staging")] {
        api.create("/v2-beta/projects", &json!({ "id": id, "name": name }));
    }
    let make = |before: i64, owner: &str, name: &str, description: &str| {
        it_is_days_ago(before);
        let body = json!({ "name": name, "description": description }).to_string();
        let request = api.request("POST", &format!("/v2-beta/{owner}apikeys"));
        key_in(&api.send(request.header("X-Forwarded-For", "192.0.2.10").body(body)).json())
    };
    let production = "projects/production/";
    let ci = make(38, production, "ci-server", "Deploys from the main branch");
    let old = make(31, production, "backup-2025", "The former backup, see nightly-backup");
    let laptop = make(27, "", "laptop", "");
    let grafana = make(12, production, "grafana", "Reads the numbers of the dashboards");
    let staging = make(9, "projects/staging/", "ci-server", "");
    make(3, production, "nightly-backup", "Copies everything at 2 o'clock");
    api.act(&format!("/v2-beta/apikeys/{}", old.id), "deactivate");
    [ci, laptop, grafana, staging]
}

/// The requests of one minute.
fn traffic(gateway: &Gateway, [ci, laptop, grafana, staging]: &[Key; 4], minute: u32) {
    let send = |from: &str, count: u32, target: &str, key: Option<&Key>| {
        if count == 0 {
            return;
        }
        let mut client = Client::connect(gateway.http());
        for _ in 0..count {
            let request = Request::get(target).header("X-Forwarded-For", from);
            let request = if let Some(key) = key { request.key(key) } else { request };
            client.send(request.end());
            if client.read().status >= 500 {
                client = Client::connect(gateway.http());
            }
        }
    };
    let wave = minute * 7 % 13 + if (22..31).contains(&minute) { 22 - (minute % 4) * 3 } else { 0 };
    send("10.20.0.31", 14 + wave, "/v1/projects/production/hosts", Some(grafana));
    send("10.20.0.7", 6 + minute % 5, "/v1/projects/production/deployments", Some(ci));
    send("10.20.0.7", minute % 4, "/v1/projects/staging/hosts", Some(staging));
    send("192.0.2.10", minute % 2, "/v1/projects/production/hosts", Some(laptop));
    send(
        "10.20.0.7",
        if (40..44).contains(&minute) { 9 } else { 0 },
        "/v1/projects/production/reports",
        Some(ci),
    );
    send("203.0.113.9", minute % 3, "/v1/projects/production/hosts", None);
    send("10.20.0.7", if minute % 6 == 1 { 4 } else { 0 }, "/v1/projects/staging/hosts", Some(ci));
    send("10.20.0.7", u32::from(minute % 9 == 4), "/v1/projects/production/%2e%2e/staging", Some(ci));
}

/// Keeps a picture of the page, as wide as said, that ends below an element.
fn keep(browser: &Browser, name: &str, width: u32, last: &str) {
    browser.screen(Screen::Desktop(width, 800));
    let script = "return Math.ceil(document.querySelector(arguments[0]).getBoundingClientRect().bottom) + 20";
    let height = browser.run(script, &[last.into()]).as_u64().unwrap();
    browser.screen(Screen::Desktop(width, u32::try_from(height).unwrap()));
    keep_as_seen(browser, name);
}

fn keep_as_seen(browser: &Browser, name: &str) {
    browser.screenshot(&format!("doc-{name}"));
    std::fs::create_dir_all(folder()).unwrap();
    std::fs::copy(pictures().join(format!("doc-{name}.png")), folder().join(format!("{name}.png"))).unwrap();
}
