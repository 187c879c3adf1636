//! A credential is read exactly as a plain second reading of RFC 7617 and RFC 4648 reads it.

use portcullis::auth::Credential;

/// Both read the same pair, or both refuse.
pub fn assert_read_plainly(value: &[u8]) {
    let expected = read_plainly(value);
    match (Credential::parse(value), &expected) {
        (Ok(credential), Some((access_key, secret))) => {
            let read = (credential.access_key(), credential.secret());
            assert_eq!(read, (access_key.as_str(), secret.as_bytes()));
        }
        (Err(_), None) => (),
        (read, _) => panic!("read {read:?}, but plainly it is {expected:?}"),
    }
}

/// The same rules once more, one step after the other and without regard to speed.
pub fn read_plainly(value: &[u8]) -> Option<(String, String)> {
    if value.len() < 6 || value[..5].to_ascii_lowercase() != *b"basic" || value[5] != b' ' {
        return None;
    }
    let encoded: Vec<u8> = value[5..].iter().copied().skip_while(|byte| *byte == b' ').collect();
    let text = String::from_utf8(decode(&encoded)?).ok()?;
    let (access_key, secret) = text.split_once(':')?;
    let is_plain = !text.chars().any(|c| c < ' ' || ('\u{7f}'..='\u{9f}').contains(&c));
    let fits = text.len() <= 1024 && !access_key.is_empty() && !secret.is_empty();
    (is_plain && fits).then(|| (access_key.to_owned(), secret.to_owned()))
}

/// Base64, bit by bit; the one encoding of what it decodes to, or nothing.
fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padding = encoded.iter().rev().take_while(|byte| **byte == b'=').count();
    if !encoded.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bits = Vec::new();
    for byte in &encoded[..encoded.len() - padding] {
        let digit = DIGITS.iter().position(|digit| digit == byte)?;
        bits.extend((0..6).rev().map(|bit| digit >> bit & 1 == 1));
    }
    let (whole, loose) = bits.split_at(bits.len() / 8 * 8);
    if loose.len() != padding * 2 || loose.contains(&true) {
        return None;
    }
    Some(whole.chunks(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | u8::from(*bit))).collect())
}
