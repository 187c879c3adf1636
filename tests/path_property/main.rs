//! The property of paths, over generated and mutated paths: for every path that passes, and every composition of up to
//! three laxer readings, the route, the class and the environment stay the same.
//!
//! Then the same property over classifiers with one rule taken out: each must give a counter-example, which shows that
//! the property can fail and that each rule is needed.
//!
//! `PATH_PROPERTY_SEED` and `PATH_PROPERTY_CASES` repeat a run or make it longer.

mod generator;
mod property;
mod readings;
mod scopes;

use std::collections::HashMap;

use generator::Random;
use portcullis::policy::PathRefusal;
use property::{Classifier, CounterExample, Seen, SeenClass, World, counter_example, gateway};

const CASES: usize = 240_000;

/// Each is tried with some forty scopes.
const SCOPE_CASES: usize = 20_000;

/// A counter-example comes long before.
const LOOSE_CASES: usize = 200_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn seed() -> u64 {
    let clock = || {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos())
    };
    let seed = setting("PATH_PROPERTY_SEED").unwrap_or_else(|| u64::from(clock()));
    println!("PATH_PROPERTY_SEED={seed}");
    seed
}

/// Leaves out what a counter-example does not need.
fn shrink(world: &World, classify: &Classifier<'_>, found: CounterExample) -> CounterExample {
    let mut smallest = found;
    'again: loop {
        for length in [8, 4, 2, 1] {
            for start in 1..smallest.path.len().saturating_sub(length - 1) {
                let mut path = smallest.path.clone();
                path.drain(start..start + length);
                if let Some(smaller) = counter_example(world, classify, &path) {
                    smallest = smaller;
                    continue 'again;
                }
            }
        }
        return smallest;
    }
}

/// Tries `cases` paths in every world in turn; stops at the first counter-example.
fn search(classify: &Classifier<'_>, cases: usize, seed: u64) -> Option<CounterExample> {
    let worlds = World::all();
    let mut random = Random::new(seed);
    (0..cases).find_map(|case| {
        let world = &worlds[case % worlds.len()];
        let path = generator::path(&mut random, world);
        counter_example(world, classify, &path).map(|found| shrink(world, classify, found))
    })
}

#[test]
fn no_reading_of_an_admitted_path_leads_elsewhere() {
    let cases = setting("PATH_PROPERTY_CASES")
        .map_or(CASES, |cases| usize::try_from(cases).expect("a number of cases"));
    if let Some(found) = search(&gateway, cases, seed()) {
        panic!("{found}");
    }
}

/// Tries `cases` paths with all scopes of their world; stops at the first counter-example. How many paths matched a scope.
fn search_scopes(
    matches: &scopes::Matcher<'_>,
    cases: usize,
    seed: u64,
) -> Result<usize, scopes::CounterExample> {
    let worlds: Vec<_> = World::all().into_iter().map(|world| (scopes::of(&world), world)).collect();
    let (mut random, mut within) = (Random::new(seed), 0);
    for case in 0..cases {
        let (scopes, world) = &worlds[case % worlds.len()];
        let path = generator::path(&mut random, world);
        within +=
            usize::from(gateway(world, &path).is_ok() && scopes.iter().any(|scope| matches(scope, &path)));
        if let Some(found) = scopes::counter_example(world, scopes, matches, &path) {
            return Err(found);
        }
    }
    Ok(within)
}

#[test]
fn no_reading_of_a_path_within_a_scope_leads_out_of_it() {
    let cases = setting("PATH_PROPERTY_CASES")
        .map_or(SCOPE_CASES, |cases| usize::try_from(cases).expect("a number of cases"));
    let within = search_scopes(&scopes::matches, cases, seed()).unwrap_or_else(|found| panic!("{found:?}"));
    assert!(within * 4 > cases, "only {within} of {cases} paths match a scope");
}

#[test]
fn a_scope_that_is_compared_more_loosely_is_left() {
    let lower = |scope: &scopes::Scope, path: &[u8]| scopes::matches(scope, &path.to_ascii_lowercase());
    let without_parameters = |scope: &scopes::Scope, path: &[u8]| {
        scopes::matches(scope, &readings::Reading::DropParameters.apply(path))
    };
    let decoded =
        |scope: &scopes::Scope, path: &[u8]| scopes::matches(scope, &readings::Reading::Decode.apply(path));
    let trimmed = |scope: &scopes::Scope, path: &[u8]| {
        scopes::matches(scope, &readings::Reading::TrimDotsAndSpaces.apply(path))
    };
    let loose: [(&str, &scopes::Matcher<'_>); 4] =
        [("case", &lower), ("parameters", &without_parameters), ("escapes", &decoded), ("dots", &trimmed)];
    for (name, matches) in loose {
        match search_scopes(matches, LOOSE_CASES, 1) {
            Err(found) => println!("without a look at {name}: {found:?}"),
            Ok(_) => panic!("without a look at {name}: no counter-example in {LOOSE_CASES} cases"),
        }
    }
}

/// Guards the guard: a property over paths that are all refused, or all plain, would say nothing.
#[test]
fn the_generated_paths_reach_everything() {
    let worlds = World::all();
    let mut random = Random::new(1);
    let (mut admitted, mut unusual) = (0, 0);
    let mut refusals: HashMap<PathRefusal, usize> = HashMap::new();
    let mut classes: HashMap<&str, usize> = HashMap::new();
    let cases = 40_000;
    for case in 0..cases {
        let world = &worlds[case % worlds.len()];
        let path = generator::path(&mut random, world);
        match gateway(world, &path) {
            Err(refusal) => *refusals.entry(refusal).or_default() += 1,
            Ok(seen) => {
                admitted += 1;
                unusual += usize::from(path.iter().any(|byte| matches!(byte, b'%' | b';')));
                *classes.entry(class_name(&seen)).or_default() += 1;
            }
        }
    }
    assert!(admitted * 4 > cases, "only {admitted} of {cases} paths are let through");
    assert!(
        unusual * 20 > cases,
        "only {unusual} of {cases} paths are let through with something unusual in them"
    );
    for class in
        ["no route", "public", "shared", "environment", "unknown environment", "account", "owner only"]
    {
        assert!(classes.get(class).is_some_and(|&seen| seen > 50), "{class}: {classes:?}");
    }
    for refusal in RULES {
        assert!(refusals.get(&refusal).is_some_and(|&seen| seen > 50), "{refusal:?}: {refusals:?}");
    }
}

fn class_name(seen: &Seen) -> &'static str {
    match seen {
        Seen::NoRoute => "no route",
        Seen::Route { owner_only: true, .. } => "owner only",
        Seen::Route { class: SeenClass::Public, .. } => "public",
        Seen::Route { class: SeenClass::Shared, .. } => "shared",
        Seen::Route { class: SeenClass::Environment(Some(_)), .. } => "environment",
        Seen::Route { class: SeenClass::Environment(None), .. } => "unknown environment",
        Seen::Route { class: SeenClass::Account, .. } => "account",
    }
}

/// Every rule of admission and classification but `NotAbsolute`, which no path breaks.
const RULES: [PathRefusal; 17] = [
    PathRefusal::Fragment,
    PathRefusal::Backslash,
    PathRefusal::Control,
    PathRefusal::Space,
    PathRefusal::NonAscii,
    PathRefusal::EmptySegment,
    PathRefusal::DotSegment,
    PathRefusal::MalformedEscape,
    PathRefusal::EscapedControl,
    PathRefusal::EncodedSlash,
    PathRefusal::EncodedBackslash,
    PathRefusal::NestedEscape,
    PathRefusal::InvalidUtf8,
    PathRefusal::FoldedSeparator,
    PathRefusal::VanishingSegment,
    PathRefusal::LiteralVariant,
    PathRefusal::EnvironmentVariant,
];

/// Fails unless the property finds a counter-example when paths refused by `rule` that `holds` are let through as they
/// stand.
fn assert_needed(name: &str, rule: PathRefusal, holds: impl Fn(&[u8]) -> bool) {
    let weakened = |world: &World, path: &[u8]| match gateway(world, path) {
        Err(refusal) if refusal == rule && holds(path) => Ok(world.read(path, false)),
        judged => judged,
    };
    match search(&weakened, CASES, 1) {
        Some(found) => println!("without {name}: {found}"),
        None => panic!("without {name}: no counter-example in {CASES} cases"),
    }
}

#[test]
fn without_any_one_rule_the_property_fails() {
    for rule in RULES {
        assert_needed(&format!("{rule:?}"), rule, |_| true);
    }
}

#[test]
fn without_any_one_step_of_the_lax_form_the_property_fails() {
    let has = |what: &'static str| {
        move |path: &[u8]| path.windows(what.len()).any(|window| window.eq_ignore_ascii_case(what.as_bytes()))
    };
    let is_plain = |path: &[u8]| !path.iter().any(|byte| matches!(byte, b'%' | b';'));
    assert_needed("folding case", PathRefusal::LiteralVariant, is_plain);
    assert_needed("decoding", PathRefusal::LiteralVariant, has("%6"));
    assert_needed("cutting at ';'", PathRefusal::LiteralVariant, has(";"));
    assert_needed("cutting at '?'", PathRefusal::LiteralVariant, has("%3f"));
    assert_needed("cutting at '#'", PathRefusal::LiteralVariant, has("%23"));
    assert_needed("trimming dots", PathRefusal::LiteralVariant, |path| {
        path.ends_with(b".") && !has("%")(path)
    });
    assert_needed("trimming spaces", PathRefusal::LiteralVariant, has("%20"));
    assert_needed("folding wide characters", PathRefusal::LiteralVariant, |path| {
        has("%EF%BD")(path) && !has("%C")(path)
    });
    assert_needed("dropping what cannot be seen", PathRefusal::LiteralVariant, has("%C2%AD"));
    assert_needed("cutting before dots are looked for", PathRefusal::DotSegment, has("..;"));
    assert_needed("folding before dots are looked for", PathRefusal::DotSegment, has("%E2%80%A5"));
    assert_needed("trimming before dots are looked for", PathRefusal::DotSegment, has("..%20"));
    assert_needed("'%2F' counted as '/'", PathRefusal::DotSegment, has("..%2f"));
    assert_needed("plain bytes in the environment's place", PathRefusal::EnvironmentVariant, has("%65"));
    assert_needed("refusing ids with dots at their end", PathRefusal::EnvironmentVariant, is_plain);
}
