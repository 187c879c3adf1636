//! The `Date` of answers (RFC 9110 §6.6.1), as text that is made once a second and not for each answer.

use jiff::Timestamp;

/// A moment, to the second.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpDate {
    second: i64,
    text: [u8; 29],
}

impl HttpDate {
    /// The date at a moment, in milliseconds since 1970. `former`: the one before, which may still be it.
    pub(super) fn at(unix_milliseconds: i64, former: Option<Self>) -> Self {
        let second = unix_milliseconds.div_euclid(1000);
        if let Some(former) = former.filter(|former| former.second == second) {
            return former;
        }
        let moment = Timestamp::from_second(second).unwrap_or_default();
        let text = moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        // longer only from the year 10000 on
        let text = *text.as_bytes().first_chunk().unwrap_or(b"Thu, 01 Jan 1970 00:00:00 GMT");
        Self { second, text }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_in_the_preferred_format() {
        let first = HttpDate::at(784_111_777_999, None);
        assert_eq!(first.text(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(HttpDate::at(784_111_777_000, Some(first)).text(), first.text());
        assert_eq!(HttpDate::at(784_111_778_000, Some(first)).text(), b"Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(HttpDate::at(-1, None).text(), b"Wed, 31 Dec 1969 23:59:59 GMT");
        for strange in [i64::MIN, i64::MAX] {
            assert_eq!(HttpDate::at(strange, None).text().len(), 29);
        }
    }
}
