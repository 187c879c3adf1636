//! Runs the commands of `docs/api.md` in the order of the page and compares their statuses. Its tables must name
//! every error and every filter.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::api::Api;
use support::stage::Stage;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).unwrap()
}

/// The page's commands, in its order.
fn commands(page: &str) -> String {
    page.split("```sh\n").skip(1).filter_map(|block| block.split("```").next()).collect()
}

/// The statuses behind calls of the page's function `status`.
fn expected(commands: &str) -> Vec<(&str, &str)> {
    let calls = commands.lines().filter(|line| line.starts_with("status "));
    calls.map(|call| call.rsplit_once(" # ").unwrap_or_else(|| panic!("no status behind {call}"))).collect()
}

#[test]
fn every_command_of_the_page_on_the_api_works_and_gets_its_status() {
    let page = page();
    let commands = commands(&page);
    let expected = expected(&commands);
    assert!(expected.len() > 20, "{commands}");

    let stage = Stage::start();
    let admin = &stage.gateway.admin;
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-euc", &commands])
        .current_dir(folder.path())
        .env("MANAGEMENT", format!("http://{}", stage.gateway.management()))
        .env("ADMIN", format!("{}:{}", admin.access_key, admin.secret))
        .output()
        .expect("sh runs");
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // what else is printed is JSON or a word
    let is_status = |line: &&str| line.len() == 3 && line.bytes().all(|byte| byte.is_ascii_digit());
    let seen: Vec<&str> = out.lines().filter(is_status).collect();
    for (at, (call, status)) in expected.iter().enumerate() {
        assert_eq!(seen.get(at), Some(status), "{}\n{out}{said}", call.trim_end());
    }
    assert_eq!(seen.len(), expected.len());
    assert!(output.status.success(), "{out}{said}");

    let audit = fs::read_to_string(folder.path().join("audit.ndjson")).unwrap();
    assert!(audit.lines().count() > 10 && !audit.contains("pcs_"), "{audit}");
    let rows = audit.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    assert!(rows.into_iter().any(|row| row["action"] == "deactivate" && row["via"] == "api"), "{audit}");
}

/// The words in backticks in these rows of tables.
fn named(page: &str, rows: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && rows(line));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect()
}

/// The texts in `source` that follow `before`, up to the next quotation mark.
fn quoted<'a>(source: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    source.split(before).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
}

fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_page_names_every_error_of_the_api() {
    let page = page();
    let is_error =
        |row: &str| row.get(2..5).is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    let named = named(&page, is_error);
    let mut source = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/management"), &mut source);
    let found = quoted(&source, "code:").chain(quoted(&source, "invalid("));
    // the page's own sentences go through a function of that name too
    let codes: BTreeSet<&str> =
        found.filter(|code| code.starts_with(char::is_uppercase) && code.len() < 20).collect();
    assert!(codes.len() > 12, "does this test still find them? {codes:?}");
    let missing: Vec<_> = codes.difference(&named).collect();
    assert!(missing.is_empty(), "docs/api.md does not name {missing:?}");
}

#[test]
fn the_page_names_every_filter_of_the_lists() {
    let page = page();
    let stage = Stage::start();
    let schemas = Api::admin(&stage.gateway).document("/v2-beta/schemas");
    let mut seen = 0;
    for schema in schemas["data"].as_array().unwrap() {
        let kind = schema["id"].as_str().unwrap();
        let filters = schema["collectionFilters"].as_object().unwrap();
        let start = format!("| `{kind}` | ");
        let named = named(&page, |row| row.starts_with(&start));
        // lists of projects take few, as Rancher's do
        for filter in filters.keys().filter(|_| kind != "project") {
            assert!(named.contains(filter.as_str()), "docs/api.md does not name {kind}'s filter {filter}");
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} filters were found");
}
