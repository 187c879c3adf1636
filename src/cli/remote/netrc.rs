//! `.netrc`, as curl reads it: words between blanks, quoted ones with escapes, comments, macros that are skipped.
//!
//! curl's own description: <https://everything.curl.dev/usingcurl/netrc.html>.

use zeroize::Zeroizing;

/// An entry with both halves of a key.
pub(super) struct Entry {
    pub(super) login: Zeroizing<String>,
    pub(super) password: Zeroizing<String>,
}

/// A file that cannot be read as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: a quote is not closed")]
pub(super) struct InvalidNetrc {
    /// Counted from 1.
    pub(super) line: usize,
}

/// What the next word is.
#[derive(Clone, Copy)]
enum Expected {
    Keyword,
    Machine,
    Login,
    Password,
    /// The value of a keyword that says nothing here.
    Other,
}

/// The entry as far as it was read.
#[derive(Default)]
struct Open {
    is_for_host: bool,
    login: Option<Zeroizing<String>>,
    password: Option<Zeroizing<String>>,
}

impl Open {
    /// The entry, where it is for the host, whole, and for the login that is asked for.
    fn close(self, login: Option<&str>) -> Option<Entry> {
        let entry = Entry { login: self.login?, password: self.password? };
        let is_wanted = login.is_none_or(|login| *entry.login == login);
        (self.is_for_host && is_wanted).then_some(entry)
    }
}

/// The first entry for `host` (in lower case), or `default`, that has a password and this `login` where one is given.
pub(super) fn find(text: &str, host: &str, login: Option<&str>) -> Result<Option<Entry>, InvalidNetrc> {
    let mut expected = Expected::Keyword;
    let mut open = Open::default();
    let mut is_macro = false;
    for (at, line) in text.lines().enumerate() {
        if is_macro {
            // a macro ends with an empty line
            is_macro = !line.trim().is_empty();
            continue;
        }
        let mut rest = line;
        while let Some(word) = next_word(&mut rest).map_err(|Unclosed| InvalidNetrc { line: at + 1 })? {
            let keyword = |keyword: &str| word.eq_ignore_ascii_case(keyword);
            match expected {
                Expected::Machine => open.is_for_host = keyword(host),
                Expected::Login => open.login = Some(word),
                Expected::Password => open.password = Some(word),
                Expected::Other => {}
                Expected::Keyword => {
                    if keyword("machine") || keyword("default") {
                        if let Some(entry) = std::mem::take(&mut open).close(login) {
                            return Ok(Some(entry));
                        }
                        open.is_for_host = keyword("default");
                    }
                    expected = if keyword("machine") {
                        Expected::Machine
                    } else if keyword("login") {
                        Expected::Login
                    } else if keyword("password") {
                        Expected::Password
                    } else if keyword("account") {
                        Expected::Other
                    } else if keyword("macdef") {
                        is_macro = true;
                        break;
                    } else {
                        Expected::Keyword
                    };
                    continue;
                }
            }
            expected = Expected::Keyword;
        }
    }
    Ok(open.close(login))
}

struct Unclosed;

/// Takes the next word off a line; none at its end, or where a comment begins.
fn next_word(rest: &mut &str) -> Result<Option<Zeroizing<String>>, Unclosed> {
    let line = rest.trim_start_matches(is_blank);
    if line.is_empty() || line.starts_with('#') {
        *rest = "";
        return Ok(None);
    }
    let Some(quoted) = line.strip_prefix('"') else {
        let end = line.find(is_blank).unwrap_or(line.len());
        *rest = &line[end..];
        return Ok(Some(Zeroizing::new(line[..end].to_owned())));
    };
    // all its room at once: a text that grows leaves copies behind
    let mut word = Zeroizing::new(String::with_capacity(quoted.len()));
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                *rest = &quoted[at + 1..];
                return Ok(Some(word));
            }
            '\\' => match characters.next().ok_or(Unclosed)?.1 {
                'n' => word.push('\n'),
                'r' => word.push('\r'),
                't' => word.push('\t'),
                other => word.push(other),
            },
            other => word.push(other),
        }
    }
    Err(Unclosed)
}

fn is_blank(character: char) -> bool {
    character <= ' '
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, host: &str, login: Option<&str>) -> Option<(String, String)> {
        let entry = find(text, host, login).unwrap()?;
        Some((entry.login.to_string(), entry.password.to_string()))
    }

    fn pair(login: &str, password: &str) -> (String, String) {
        (login.to_owned(), password.to_owned())
    }

    #[test]
    fn the_first_entry_of_the_host_counts_on_one_line_or_many() {
        let text = "machine other.test login a password b\nmachine GW.test\n  login pca_x\n\tpassword pcs_y\n\
                    machine gw.test login late password late\n";
        assert_eq!(found(text, "gw.test", None), Some(pair("pca_x", "pcs_y")));
        assert_eq!(found(text, "gw.test", Some("late")), Some(pair("late", "late")));
        assert_eq!(found(text, "gw.test", Some("a")), None, "another host's login");
        assert_eq!(found(text, "nowhere.test", None), None);
        assert_eq!(found(text, "w.test", None), None);
    }

    #[test]
    fn default_is_for_every_host_that_comes_to_it() {
        let text = "machine gw.test login own password own\ndefault login any password any";
        assert_eq!(found(text, "gw.test", None), Some(pair("own", "own")));
        assert_eq!(found(text, "elsewhere.test", None), Some(pair("any", "any")));
    }

    #[test]
    fn quoted_words_hold_blanks_quotes_and_escapes() {
        let text = r#"machine "gw.test" login "a b" password "q\"\\ # \t\x" account "machine x""#;
        assert_eq!(found(text, "gw.test", None), Some(pair("a b", "q\"\\ # \tx")));
        assert_eq!(found(text, "x", None), None);
        assert_eq!(
            found(r#"machine gw.test login a password b"c"#, "gw.test", None),
            Some(pair("a", "b\"c"))
        );
        for text in ["machine gw.test\nlogin a password \"b", "machine a\nlogin \"b\\"] {
            assert_eq!(find(text, "gw.test", None).err(), Some(InvalidNetrc { line: 2 }), "{text}");
        }
    }

    #[test]
    fn comments_and_macros_say_nothing() {
        let text = "# machine gw.test login no password no\nmacdef init\nmachine gw.test login no password no\n\n\
                    machine gw.test # the gateway\nlogin yes password yes";
        assert_eq!(found(text, "gw.test", None), Some(pair("yes", "yes")));
    }

    #[test]
    fn an_entry_without_a_password_or_a_login_is_none() {
        assert_eq!(found("machine gw.test login a", "gw.test", None), None);
        assert_eq!(found("machine gw.test password a", "gw.test", None), None);
        assert_eq!(found("login a password b", "gw.test", None), None, "for no machine");
        assert_eq!(found("machine gw.test login", "gw.test", None), None);
        assert_eq!(found("", "gw.test", None), None);
    }
}
