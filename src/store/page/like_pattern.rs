//! SQL's LIKE, in time that is bounded for every pattern.
//!
//! SQLite's own matcher goes back after each `%`: a pattern with many of them, or one long part that almost matches
//! everywhere, costs it seconds for a single text. This one replaces SQLite's function, so that no statement
//! can use that one. Case does not matter in ASCII, as in SQLite.

use std::collections::HashMap;
use std::convert::Infallible;

use memchr::memmem::Finder;
use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;

/// Makes LIKE of this connection ours.
pub(in crate::store) fn replace_like(connection: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    // with and without ESCAPE; `text LIKE pattern` calls like(pattern, text)
    connection.create_scalar_function("like", 2, flags, like)?;
    connection.create_scalar_function("like", 3, flags, like)
}

fn like(context: &Context<'_>) -> rusqlite::Result<Option<bool>> {
    let (ValueRef::Text(pattern), ValueRef::Text(text)) = (context.get_raw(0), context.get_raw(1)) else {
        return Ok(None);
    };
    let escape = if context.len() == 3 { context.get::<String>(2)?.chars().next() } else { None };
    // SQLite keeps what was made of a pattern while a statement runs
    let pattern = context.get_or_create_aux(0, |_| {
        Ok::<_, Infallible>(Pattern::new(&String::from_utf8_lossy(pattern), escape))
    })?;
    Ok(Some(pattern.matches(&String::from_utf8_lossy(text))))
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    /// This character, in lower case.
    One(char),
    /// `_`: any one character.
    Any,
    /// `%`: any characters, or none.
    Run,
}

/// A pattern that is ready to be compared.
#[derive(Debug)]
enum Pattern {
    Literals(Literals),
    Automaton(Automaton),
    /// It ends with the escape character: nothing matches.
    Unfinished,
}

impl Pattern {
    fn new(pattern: &str, escape: Option<char>) -> Self {
        let mut symbols = Vec::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            symbols.push(match character {
                _ if Some(character) == escape => match characters.next() {
                    Some(literal) => Symbol::One(literal.to_ascii_lowercase()),
                    None => return Self::Unfinished,
                },
                '%' => Symbol::Run,
                '_' => Symbol::Any,
                _ => Symbol::One(character.to_ascii_lowercase()),
            });
        }
        if symbols.contains(&Symbol::Any) {
            Self::Automaton(Automaton::new(&symbols))
        } else {
            Self::Literals(Literals::new(&symbols))
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literals(literals) => literals.matches(&text.to_ascii_lowercase()),
            Self::Automaton(automaton) => automaton.matches(text),
            Self::Unfinished => false,
        }
    }
}

/// A pattern without `_`: literals with a `%` between them. Each is looked for once, in what the one before has left.
#[derive(Debug)]
struct Literals {
    first: String,
    middle: Vec<Finder<'static>>,
    /// What stands after the last `%`; `None` where there is no `%`.
    last: Option<String>,
}

impl Literals {
    fn new(symbols: &[Symbol]) -> Self {
        let literal = |part: &[Symbol]| -> String {
            part.iter()
                .filter_map(|symbol| match symbol {
                    Symbol::One(character) => Some(*character),
                    Symbol::Any | Symbol::Run => None,
                })
                .collect()
        };
        let mut parts: Vec<_> = symbols.split(|symbol| *symbol == Symbol::Run).map(literal).collect();
        let last = if parts.len() > 1 { parts.pop() } else { None };
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        let middle = parts.filter(|part| !part.is_empty());
        Self { first, middle: middle.map(|part| Finder::new(&part).into_owned()).collect(), last }
    }

    fn matches(&self, text: &str) -> bool {
        let Some(rest) = text.strip_prefix(&self.first) else { return false };
        let Some(last) = &self.last else { return rest.is_empty() };
        let Some(mut rest) = rest.strip_suffix(last).map(str::as_bytes) else { return false };
        for part in &self.middle {
            let Some(at) = part.find(rest) else { return false };
            rest = &rest[at + part.needle().len()..];
        }
        true
    }
}

/// A pattern with `_`: all places of the pattern that a text can have reached, 64 of them in one word (Baeza-Yates and
/// Gonnet's Shift-And). A character costs as many steps as the pattern has words.
#[derive(Debug)]
struct Automaton {
    /// Characters that the pattern has beside `%`; the place after the last is the end.
    length: usize,
    /// Where it has each character: words, and the bits in them.
    of: HashMap<char, Vec<(usize, u64)>>,
    /// Where it has `_`.
    any: Vec<u64>,
    /// Before which places it has `%`.
    runs: Vec<u64>,
}

impl Automaton {
    fn new(symbols: &[Symbol]) -> Self {
        let words = symbols.len() / 64 + 1;
        let mut automaton = Self { length: 0, of: HashMap::new(), any: vec![0; words], runs: vec![0; words] };
        for symbol in symbols {
            let (word, bit) = (automaton.length / 64, 1_u64 << (automaton.length % 64));
            match symbol {
                Symbol::Run => {
                    automaton.runs[word] |= bit;
                    continue;
                }
                Symbol::Any => automaton.any[word] |= bit,
                Symbol::One(character) => {
                    let places = automaton.of.entry(*character).or_default();
                    match places.last_mut() {
                        Some((last, bits)) if *last == word => *bits |= bit,
                        _ => places.push((word, bit)),
                    }
                }
            }
            automaton.length += 1;
        }
        automaton
    }

    fn matches(&self, text: &str) -> bool {
        // each of its characters takes at least a byte
        if text.len() < self.length {
            return false;
        }
        let mut reached = vec![0_u64; self.any.len()];
        reached[0] = 1;
        for character in text.chars() {
            let mut passing = self.any.clone();
            for (word, bits) in self.of.get(&character.to_ascii_lowercase()).into_iter().flatten() {
                passing[*word] |= bits;
            }
            let mut carried = 0;
            let mut is_alive = false;
            for ((reached, passing), runs) in reached.iter_mut().zip(passing).zip(&self.runs) {
                let passed = *reached & passing;
                *reached = (passed << 1) | carried | (*reached & runs);
                carried = passed >> 63;
                is_alive |= *reached != 0;
            }
            if !is_alive {
                return false;
            }
        }
        reached[self.length / 64] & (1 << (self.length % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern, Some('\\')).matches(text)
    }

    /// As SQLite defines it: by trying everything.
    fn defined(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some(('%', rest)), _) => (0..=text.len()).any(|at| defined(rest, &text[at..])),
            (Some(('_', rest)), Some((_, after))) => defined(rest, after),
            (Some((one, rest)), Some((other, after))) => {
                one.eq_ignore_ascii_case(other) && defined(rest, after)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn case_102_patterns_match_what_sqlite_says_they_do(
            pattern in "[aAbé_%]{0,9}",
            text in "[abBé]{0,12}",
        ) {
            let (all, characters): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            let expected = defined(&all, &characters);
            prop_assert_eq!(matches(&pattern, &text), expected);
            // the automaton knows every pattern
            let symbols: Vec<_> = all.iter().map(|character| match character {
                '%' => Symbol::Run,
                '_' => Symbol::Any,
                one => Symbol::One(one.to_ascii_lowercase()),
            }).collect();
            prop_assert_eq!(Automaton::new(&symbols).matches(&text), expected);
            // and SQLite, asked itself, agrees
            let connection = Connection::open_in_memory().unwrap();
            let ask = |connection: &Connection| -> bool {
                connection.query_row("SELECT ?1 LIKE ?2", [&text, &pattern], |row| row.get(0)).unwrap()
            };
            prop_assert_eq!(ask(&connection), expected);
            replace_like(&connection).unwrap();
            prop_assert_eq!(ask(&connection), expected);
        }
    }

    #[test]
    fn case_102_patterns_of_many_words_and_escapes() {
        let long = "a_".repeat(100);
        assert!(matches(&long, &"ab".repeat(100)));
        assert!(!matches(&long, &"ab".repeat(101)));
        assert!(matches(&format!("%{long}%"), &format!("é{}é", "ab".repeat(100))));
        assert!(matches("100\\%", "100%"));
        assert!(!matches("100\\%", "1000"));
        assert!(matches("%\\_%", "pce_x"));
        assert!(!matches("%\\_%", "pce-x"));
        assert!(!matches("a\\", "a\\"));
        assert!(matches("%\0%", "a\0b"));
        assert!(!matches("a\0%", "ab"));
    }

    /// SQLite's own matcher takes minutes for the second of these.
    #[test]
    fn case_102_no_pattern_explodes() {
        let text = "a".repeat(1_024);
        let begun = Instant::now();
        for pattern in [
            format!("%{}b", "a".repeat(1_000)),
            format!("{}b", "%a".repeat(500)),
            format!("{}b", "%_a".repeat(300)),
            format!("%{}_b%", "a".repeat(1_000)),
            format!("%{}b%", "_".repeat(1_000)),
        ] {
            let pattern = Pattern::new(&pattern, None);
            for _ in 0..50 {
                assert!(!pattern.matches(&text));
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
