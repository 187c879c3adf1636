//! Case 101: judging a target costs no more than a fixed multiple of its bytes, whatever they are.

use super::super::test_fixtures::{keyed, public, rancher};
use super::super::{HeaderValues, RouteTable, admit_target, apply_selectors};
use super::count_work;

/// How much work a byte of a target may take. The worst ones are no-break spaces, unescaped, in a query where selectors are
/// configured.
const PER_BYTE: usize = 7;
/// What a target may take beside that: the segments that are compared with the routes' words.
const BESIDE: usize = 400;
/// The longest target that the default limits let in.
const LENGTH: usize = 8 * 1024;

/// Routes with selectors and overrides beside a thousand others whose words differ at their ends only.
fn table() -> RouteTable {
    let mut routes = vec![rancher(), public("/healthz")];
    for number in 0..1000 {
        let path = format!("/a-long-word-that-many-routes-begin-with-{number:04}");
        routes.push(keyed(&path, &[&format!("{path}/{{environment}}")], &[], &[]));
    }
    RouteTable::new(&routes).unwrap()
}

fn work_for(table: &RouteTable, target: &[u8]) -> usize {
    count_work(|| {
        let Ok(admitted) = admit_target(target) else { return };
        if let Ok(routed) = table.classify(&admitted) {
            let _ = apply_selectors(routed, admitted.query, &|_| HeaderValues::Absent);
        }
    })
}

#[track_caller]
fn assert_bounded(table: &RouteTable, target: &[u8]) {
    let work = work_for(table, target);
    let allowed = PER_BYTE * target.len() + BESIDE;
    let start = target[..target.len().min(120)].escape_ascii();
    assert!(work <= allowed, "{work} units of work for {} bytes, at most {allowed}: {start}…", target.len());
}

/// Fills what the default limits let in with `piece`, after each of several beginnings.
fn filled(piece: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let starts = [
        "/",
        "/v2-beta/",
        "/v2-beta/projects/e1/",
        "/v2-beta/projects/e1/projectmembers",
        "/a-long-word-that-many-routes-begin-with-",
        "/v2-beta/stacks?",
        "/v2-beta/stacks?projectId=e1&",
        "/v2-beta/stacks?a=b;",
    ];
    starts.into_iter().map(move |start| {
        let times = (LENGTH - start.len()) / piece.len();
        [start.as_bytes(), &piece.repeat(times)].concat()
    })
}

fn escaped(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|byte| format!("%{byte:02X}").into_bytes()).collect()
}

#[test]
fn case_101_no_repeated_character_costs_more_than_its_bytes() {
    let table = table();
    // one of each kind of fold, of each length in UTF-8; the most costly is found below
    let mut worst: Vec<(usize, char)> = Vec::new();
    for character in ('\u{80}'..=char::MAX).filter(|c| !c.is_control()) {
        let work = count_work(|| super::super::unicode_fold::fold_to_ascii(character, |_| {}));
        worst.push((work, character));
    }
    worst.sort_unstable_by_key(|(work, character)| (std::cmp::Reverse(*work), *character));
    worst.dedup_by_key(|(work, character)| (*work, character.len_utf8()));
    assert!(worst.len() > 8, "{worst:?}");
    let famous =
        ['\u{fdfa}', '\u{fdfb}', '\u{3300}', '\u{390}', '\u{1f82}', '\u{301}', '\u{345}', '\u{e0100}'];
    for character in worst.into_iter().map(|(_, character)| character).chain(famous) {
        let raw = character.to_string();
        for piece in
            [raw.as_bytes(), &escaped(&raw), &escaped(&format!("a{raw}")), &escaped(&format!("{raw} "))]
        {
            filled(piece).for_each(|target| assert_bounded(&table, &target));
        }
    }
}

#[test]
fn case_101_no_repeated_piece_costs_more_than_its_bytes() {
    let table = table();
    for piece in [
        "a",
        "/a",
        "a/",
        "/./a",
        "./",
        "a./",
        ";",
        "/;",
        "/a;b",
        "%41",
        "/%41",
        "%2F",
        "/a%2Fb",
        "%20",
        "%2E",
        ".",
        "/..a",
        "%25",
        "%3B",
        "%CC%81%CC%A3",
        "a%CC%81",
        "&",
        "a&",
        "=",
        "&=",
        "%&",
        "%25&",
        "%2525",
        ";",
        "a;",
        "%3D",
        "%5B",
        "+",
        "+&",
        "_",
        "p&",
        "projectI&",
        "project%49&",
        "_metho&",
        "_metho;",
        "projectId.",
        "\u{301}",
        "\u{301}&",
        "é&",
        "%C3&",
        "%FF&",
        "%zz&",
    ] {
        filled(piece.as_bytes()).for_each(|target| assert_bounded(&table, &target));
    }
}

#[test]
fn case_101_no_generated_target_costs_more_than_its_bytes() {
    let table = table();
    let pieces = [
        "/",
        "a",
        ".",
        "..",
        ";",
        "?",
        "&",
        "=",
        "%41",
        "%EF%B7%BA",
        "%C2%BD",
        "%CC%81",
        "%2F",
        "%25",
        "+",
        "/v2-beta",
        "/projects",
        "/e1",
        "projectId",
        "_method",
        "%20",
        "\u{fdfa}",
        "ß",
        "/a-long-word-that-many-routes-begin-with-0999",
    ];
    let mut state = 101_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..3000 {
        let mut target = b"/".to_vec();
        let kinds = 1 + random(4);
        let chosen: Vec<&str> = (0..kinds).map(|_| pieces[random(pieces.len())]).collect();
        let length = 1 + random(LENGTH / 4);
        while target.len() < length {
            target.extend_from_slice(chosen[random(kinds)].as_bytes());
        }
        assert_bounded(&table, &target);
    }
}

#[test]
fn case_101_the_work_for_a_plain_target_is_about_its_bytes() {
    let target = [b"/v2-beta/projects/e1/stacks/", &b"plain/"[..].repeat(100)[..]].concat();
    let work = work_for(&table(), &target);
    assert!(work >= target.len() && work < 2 * target.len(), "{work} for {}", target.len());
}
