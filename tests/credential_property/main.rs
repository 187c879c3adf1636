//! The gateway and a second, plain implementation must read every credential alike. The fuzz target `credential`
//! checks the same.

mod property;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use property::{assert_read_plainly, read_plainly};
use proptest::prelude::*;

/// The value of an `Authorization` field that means this pair.
fn basic(pair: &[u8]) -> Vec<u8> {
    format!("Basic {}", STANDARD.encode(pair)).into_bytes()
}

/// Pairs of all kinds, more often good than not.
fn pairs() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z0-9_]{0,8}:[ -~]{0,20}".prop_map(String::into_bytes),
        "\\PC{0,20}".prop_map(String::into_bytes),
        ".{0,20}:.{0,20}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
        (1015_usize..1030).prop_map(|length| [b"id:".to_vec(), vec![b'x'; length]].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pairs_are_read_as_they_are_plainly_read(pair in pairs()) {
        assert_read_plainly(&basic(&pair));
    }

    #[test]
    fn one_changed_byte_is_read_as_it_is_plainly_read(pair in pairs(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut value = basic(&pair);
        let at = at.index(value.len());
        value[at] = to;
        assert_read_plainly(&value);
    }

    #[test]
    fn ends_of_encodings_are_read_as_they_are_plainly_read(pair in "[a-z]{1,3}:[a-z]{1,4}", end in "[A-Za-z0-9+/=]{0,4}") {
        let mut value = basic(pair.as_bytes());
        value.truncate(value.len() - end.len());
        value.extend(end.into_bytes());
        assert_read_plainly(&value);
    }
}

#[test]
fn the_plain_reading_reads() {
    let pair = read_plainly(&basic(b"id:sec:ret"));
    assert_eq!(pair, Some(("id".to_owned(), "sec:ret".to_owned())));
    assert_eq!(read_plainly(b"Basic aWQ6cw=="), Some(("id".to_owned(), "s".to_owned())));
    assert_eq!(read_plainly(b"Basic aWQ6cx=="), None);
}
