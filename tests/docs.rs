//! What can be checked in the documents: links lead somewhere, commands and options exist, and each attack has the
//! tests that the documents name.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The attack cases that this version answers.
fn cases() -> impl Iterator<Item = u32> {
    (1..=131).filter(|case| ![54, 81, 85].contains(case))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below `folder` that end with `.extension`.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    found
}

/// Every document of the project.
fn documents() -> Vec<PathBuf> {
    let mut found = files(&root().join("docs"), "md");
    found.push(root().join("certs/README.md"));
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "md") {
            found.push(path);
        }
    }
    found
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    let mut seen = 0;
    for document in documents() {
        let text = read(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            let found = target.exists()
                && (heading.is_empty()
                    || read(&target).lines().any(|line| line.starts_with('#') && anchor(line) == heading));
            if !found {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
    assert!(seen > 10, "only {seen} links were found: does this test still read them?");
}

#[test]
fn the_index_names_every_document() {
    let index = read(&root().join("docs/README.md"));
    for document in files(&root().join("docs"), "md") {
        let name = document.strip_prefix(root().join("docs")).unwrap().display().to_string();
        let folder = name.split('/').next().unwrap();
        let named = index.contains(&format!("]({name})")) || index.contains(&format!("]({folder}/)"));
        assert!(named || name == "README.md", "docs/README.md does not name {name}");
    }
}

/// The calls of the program in `text`: code spans and code lines that begin with its name.
fn calls(text: &str) -> Vec<String> {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("$ "));
    let starts = ["portcullis ", "cargo run --release -- "];
    spans
        .chain(lines)
        .filter_map(|code| starts.iter().find_map(|start| code.strip_prefix(start)))
        // a comment, or an explanation in a column of its own
        .map(|call| {
            call.split(" #").next().unwrap_or(call).split("  ").next().unwrap_or(call).trim().to_owned()
        })
        .collect()
}

/// The commands at the start of a call: plain words, at most three deep (`environment member add`).
fn commands(call: &str) -> Vec<&str> {
    call.split(' ').take(3).take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())).collect()
}

#[test]
fn commands_and_options_in_the_documents_exist() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for call in calls(&read(&document)) {
            let commands = commands(&call);
            if commands.is_empty() {
                continue; // `portcullis COMMAND`, `portcullis --version`
            }
            seen += 1;
            let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
                .args(&commands)
                .arg("--help")
                .output()
                .expect("the program can be started");
            let help = String::from_utf8_lossy(&output.stdout).into_owned();
            let options = call.split([' ', '[', ']', '=']).filter(|word| word.starts_with("--"));
            let unknown: Vec<&str> = options.filter(|option| !help.contains(*option)).collect();
            if !output.status.success() || !unknown.is_empty() {
                wrong.push(format!("{}: portcullis {call} {unknown:?}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "commands or options that do not exist:\n{}", wrong.join("\n"));
    assert!(seen > 5, "only {seen} calls were found: does this test still read them?");
}

/// The names in `text` that begin with `case_` and a number.
fn case_names(text: &str, before: &str) -> BTreeSet<String> {
    let start = format!("{before}case_");
    let names = text.split(&start).skip(1).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    names
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>())
        .map(|rest| format!("case_{rest}"))
        .collect()
}

#[test]
fn every_attack_has_its_test_and_the_documents_name_it() {
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        for file in files(&root().join(folder), "rs") {
            tests.extend(case_names(&read(&file), "fn "));
        }
    }
    let named: BTreeSet<String> = documents().iter().flat_map(|page| case_names(&read(page), "`")).collect();
    let missing: Vec<_> = named.difference(&tests).collect();
    assert!(missing.is_empty(), "the documents name tests that are not there: {missing:#?}");
    let number = |test: &String| test.split('_').nth(1).and_then(|number| number.parse().ok());
    let tested: BTreeSet<u32> = tests.iter().filter_map(number).collect();
    let told: BTreeSet<u32> = named.iter().filter_map(number).collect();
    let missing: Vec<u32> = cases().filter(|case| !(tested.contains(case) && told.contains(case))).collect();
    assert!(missing.is_empty(), "attack cases without a test, or that no document tells: {missing:?}");
}
