//! Paths to try: built from the routes' own words, then bent in the ways that servers disagree about.

use crate::property::{World, words};

/// A small seeded generator (SplitMix64): the same seed gives the same paths everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const IDS: [&str; 9] = ["e1", "E1", "e2", "1a5", "A_b-c", "-", "e1~", "e.1", "schemas"];

/// Segments of legal traffic.
const LEGAL: [&str; 20] = [
    ".",
    ".",
    "x",
    "stacks",
    "a%20b",
    "a%3Ab",
    "a:b@c",
    "d+e;f,g=h",
    "Stra%C3%9Fe",
    "%E6%97%A5",
    "UP",
    "file.txt",
    "100%25",
    ".hidden",
    "v1",
    "a..b",
    "%F0%9F%91%A9",
    "a",
    "secret",
    "keys",
];

/// What mutations put in: everything that some reader treats specially.
const TRICKS: [&str; 78] = [
    "/",
    "//",
    "\\",
    ".",
    "..",
    "...",
    "/..",
    "/../",
    "/./",
    ";",
    ";x",
    ";/",
    ";a=b",
    "?",
    "#",
    "\0",
    " ",
    "\t",
    "~",
    "+",
    "%",
    "%2",
    "%zz",
    "%2f",
    "%2F",
    "%5c",
    "%2e",
    "%2E",
    "%2e%2e",
    "%2e%2e/",
    "..%2f",
    "/..%2f",
    "%2f..%2f",
    "..;",
    "..%20",
    "%20",
    "%20.",
    ".%20",
    "%09",
    "%00",
    "%0a",
    "%3b",
    "%3B",
    "%3f",
    "%23",
    "%25",
    "%252e",
    "%252f",
    "%25%32%65",
    "%%32e",
    "%2%65",
    "%%32%65%%32%65",
    "%c0%ae",
    "%c0%ae%c0%ae",
    "%c0%af",
    "%e0%80%ae",
    "%e0%80%af",
    "%EF%BC%8F",
    "%EF%BC%8E",
    "%EF%BC%8E%EF%BC%8E",
    "%EF%BC%BC",
    "%EF%BC%9B",
    "%EF%BC%9F",
    "%EF%BC%83",
    "%EF%BC%852e",
    "%25%EF%BC%92e",
    "%E2%80%A5",
    "%E2%80%A4",
    "%C2%AD",
    "%E2%80%8B",
    "%C2%A0",
    "%E3%80%80",
    "%C2%85",
    "%ff",
    "．",
    "／",
    "é",
    "%E2%84%80",
];

/// A path of the world, or one bent a little, or one bent a lot.
pub fn path(random: &mut Random, world: &World) -> Vec<u8> {
    let mut path = legal(random, world);
    let mutations = match random.below(8) {
        0 => 0,
        1..=4 => 1,
        5 | 6 => 2,
        _ => 1 + random.below(5),
    };
    for _ in 0..mutations {
        mutate(random, &mut path);
    }
    // the request target ends at the first '?': what follows is the query
    let end = path.iter().position(|&byte| byte == b'?').unwrap_or(path.len());
    path.truncate(end);
    if path.first() != Some(&b'/') {
        path.insert(0, b'/');
    }
    path
}

fn legal(random: &mut Random, world: &World) -> Vec<u8> {
    let spec = random.pick(world.specs);
    let patterns =
        [&[spec.path][..], spec.templates, spec.shared, spec.owner_only, spec.owner_only_outside].concat();
    let pattern = random.pick(&patterns);
    let mut segments: Vec<&str> = words(pattern).into_iter().filter(|word| *word != "**").collect();
    for segment in &mut segments {
        if *segment == "{environment}" {
            *segment = random.pick(&IDS);
        }
    }
    if random.one_in(12) {
        segments.truncate(random.below(segments.len() + 1));
    }
    for _ in 0..random.below(4) {
        // now and then words of another route, or of the same again: what `..` would lead to
        if random.one_in(4) {
            let other = words(random.pick(world.specs).path);
            let extra: Vec<&str> = other.into_iter().chain([random.pick(&IDS)]).collect();
            segments.extend(extra);
        } else {
            segments.push(random.pick(&LEGAL));
        }
    }
    let mut path =
        segments.iter().flat_map(|segment| [b"/", segment.as_bytes()].concat()).collect::<Vec<u8>>();
    let wants_slash = pattern.len() > 1 && pattern.ends_with('/');
    if path.is_empty() || random.one_in(if wants_slash { 2 } else { 10 }) {
        path.push(b'/');
    }
    path
}

fn mutate(random: &mut Random, path: &mut Vec<u8>) {
    let at = random.below(path.len() + 1);
    match random.below(12) {
        // a trick somewhere, or where it matters most: at the end of a segment
        0..=2 => insert(path, at, random.pick(&TRICKS).as_bytes()),
        3..=5 => {
            let ends: Vec<usize> =
                (1..=path.len()).filter(|&end| path.get(end).is_none_or(|&byte| byte == b'/')).collect();
            let end = random.pick(&ends);
            insert(path, end, random.pick(&TRICKS).as_bytes());
        }
        // a segment of its own, then the way back down
        6 => {
            let starts: Vec<usize> = (0..path.len()).filter(|&start| path[start] == b'/').collect();
            if starts.is_empty() {
                return;
            }
            let start = random.pick(&starts);
            let segment = [b"/", random.pick(&TRICKS).as_bytes()].concat();
            insert(path, start, &segment);
        }
        7 if at < path.len() => {
            let escaped = disguise(random, path[at]);
            path.splice(at..=at, escaped);
        }
        8 if at < path.len() => path[at] ^= 0x20 * u8::from(path[at].is_ascii_alphabetic()),
        9 if at < path.len() && path.len() > 1 => drop(path.remove(at)),
        10 => insert(
            path,
            at,
            random.pick(&[&b"/../e2"[..], b"/..;/e2", b"/%2e%2e/e2", b"%2fe2", b"/.%20./e2"]),
        ),
        _ => {
            let byte = u8::try_from(random.below(256)).expect("below 256");
            path.insert(at, byte);
        }
    }
}

fn insert(path: &mut Vec<u8>, at: usize, what: &[u8]) {
    path.splice(at..at, what.iter().copied());
}

/// Another way to write a byte that some reader takes for it.
fn disguise(random: &mut Random, byte: u8) -> Vec<u8> {
    let escape =
        |bytes: &[u8]| bytes.iter().flat_map(|byte| format!("%{byte:02X}").into_bytes()).collect::<Vec<u8>>();
    match random.below(5) {
        0 => escape(&[byte]),
        1 => escape(&[byte]).to_ascii_lowercase(),
        2 => [b"%25", &escape(&[byte])[1..]].concat(),
        3 if byte.is_ascii() => escape(&[0xc0 | byte >> 6, 0x80 | (byte & 0x3f)]),
        // the full-width form of ASCII lies at U+FF01 to U+FF5E
        _ => match char::from_u32(0xfee0 + u32::from(byte)).filter(|_| byte.is_ascii_graphic()) {
            Some(wide) => escape(wide.encode_utf8(&mut [0; 4]).as_bytes()),
            None => escape(&[byte]),
        },
    }
}
