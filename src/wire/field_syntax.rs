//! Which bytes may stand in names and values (RFC 9110 §5.5 and §5.6.2).

/// Whether all bytes may stand in a field value (RFC 9110 §5.5). Written without branches, so that it runs over
/// many bytes at a time.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "branches would keep it from running over many bytes at a time"
)]
pub(super) fn is_field_text(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |bad, &b| bad | ((b < 0x20) & (b != b'\t')) | (b == 0x7f))
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop stays below 256")]
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};
