//! Checks the layers: a module uses only modules below it.
//!
//! One package cannot make the compiler do this, so this test reads the map in `src/lib.rs` and every `crate::…`
//! path in the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → its layer; a greater number is further down.
type Layers = BTreeMap<String, usize>;

/// Reads the table in the first lines of `src/lib.rs`. "[`config`], then [`model`]" are two layers in one row.
fn layers(map: &str) -> Layers {
    let mut layers = Layers::new();
    let mut depth = 0;
    for row in map.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let mut cells = row.split('|').map(str::trim);
        let (Some(number), Some(modules)) = (cells.next(), cells.next()) else { continue };
        if number.parse::<usize>().is_err() {
            continue;
        }
        for step in modules.split("then") {
            depth += 1;
            for module in step.split('`').skip(1).step_by(2) {
                layers.insert(module.to_owned(), depth);
            }
        }
    }
    layers
}

/// The modules that `source` names after `prefix`: `crate::module` or `crate::{module::…, other}`.
fn modules_used(source: &str, prefix: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut modules = Vec::new();
    for (at, path) in source.match_indices(prefix) {
        if source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue; // the end of another word
        }
        let rest = &source[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            modules.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut expects_module = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => expects_module = true,
                _ if expects_module && c.is_alphabetic() => {
                    modules.push(name(&group[at..]));
                    expects_module = false;
                }
                _ => {}
            }
        }
    }
    modules
}

/// A source file without its comments, which may link anywhere.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file can be read");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder can be read") {
        let path = entry.expect("a folder entry can be read").path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn a_module_uses_only_modules_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = fs::read_to_string(source.join("lib.rs")).expect("src/lib.rs can be read");
    let layers = layers(&map);

    let mut declared: Vec<&str> =
        map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    declared.sort_unstable();
    assert_eq!(
        declared,
        layers.keys().map(String::as_str).collect::<Vec<_>>(),
        "the map in src/lib.rs and its `pub mod` lines name different modules"
    );

    let mut files = Vec::new();
    source_files(&source, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&source).expect("it was found in there");
        let first = inside.components().next().expect("a file has a name").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        let Some(own) = layers.get(module) else { continue }; // main.rs and lib.rs are above all modules
        for used in modules_used(&code(&file), "crate::") {
            let allowed = used == module || layers.get(&used).is_some_and(|other| other > own);
            if !allowed {
                wrong.push(format!("src/{}: {module} may not use {used}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "modules that use one above or beside them:\n{}", wrong.join("\n"));
}

#[test]
fn a_module_of_the_management_plane_uses_only_modules_below_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/management");
    let map = fs::read_to_string(folder.join("mod.rs")).expect("src/management/mod.rs can be read");
    let layers = layers(&map);

    let mut declared: Vec<&str> = map
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    declared.sort_unstable();
    assert_eq!(
        declared,
        layers.keys().map(String::as_str).collect::<Vec<_>>(),
        "the table in src/management/mod.rs and its `mod` lines name different modules"
    );

    let mut files = Vec::new();
    source_files(&folder, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&folder).expect("it was found in there").with_extension("");
        let mut path: Vec<_> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if path.last().is_some_and(|last| last == "mod") {
            path.pop();
        }
        let Some(own) = path.first() else { continue }; // mod.rs itself only names them
        let source = code(&file);
        for prefix in ["super::".repeat(path.len()), "crate::management::".to_owned()] {
            for used in modules_used(&source, &prefix) {
                if used != *own && layers.get(&used).is_some_and(|other| *other <= layers[own]) {
                    wrong.push(format!("src/management/{}: {own} may not use {used}", inside.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "modules that use one above or beside them:\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_finds_modules_in_every_spelling() {
    let source = "use crate::store::RequestStore;\nuse crate::{\n    auth::{a, b::{c}},\n    model,\n};\nlet x = crate::policy::decide();\nfn other_crate::x() {}";
    assert_eq!(modules_used(source, "crate::"), ["store", "auth", "model", "policy"]);
}
