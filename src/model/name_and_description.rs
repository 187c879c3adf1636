//! Names and descriptions of keys, accounts and environments: what they can hold.

use std::fmt;

/// Why a name or description is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Longer than allowed, counted in characters.
    #[error("a {what} has at most {max} characters, this one has {found}")]
    TooLong {
        /// `name` or `description`
        what: &'static str,
        /// the limit, in characters
        max: usize,
        /// what was given, in characters
        found: usize,
    },
    /// Holds a control character, or one that changes the direction of text and so what a reader sees.
    #[error("a {what} may not hold control or text-direction characters")]
    Control {
        /// `name` or `description`
        what: &'static str,
    },
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The limit, in characters.
            pub const MAX_CHARACTERS: usize = $max;

            /// Parses a text, without the blanks around it. `None` if nothing is left.
            pub fn parse(text: &str) -> Result<Option<Self>, TextError> {
                let text = text.trim();
                let found = text.chars().count();
                if found > $max {
                    return Err(TextError::TooLong { what: $what, max: $max, found });
                }
                if text.chars().any(|c| !$allowed.contains(c) && (c.is_control() || changes_direction(c))) {
                    return Err(TextError::Control { what: $what });
                }
                Ok(if text.is_empty() { None } else { Some(Self(text.to_owned())) })
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// A name: at most 255 characters, on one line.
    Name,
    "name",
    255,
    ""
);
text!(
    /// A description: at most 1,024 characters, line breaks and tabs allowed.
    Description,
    "description",
    1024,
    "\n\t"
);

/// Bidirectional controls (Unicode TR 9): they make a text read differently from what it is.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(Name::parse(&"é".repeat(255)).is_ok());
        assert_eq!(
            Name::parse(&"é".repeat(256)),
            Err(TextError::TooLong { what: "name", max: 255, found: 256 })
        );
        assert!(Description::parse(&"x".repeat(1024)).is_ok());
        assert!(Description::parse(&"x".repeat(1025)).is_err());
    }

    #[test]
    fn an_empty_text_is_none() {
        assert_eq!(Name::parse(""), Ok(None));
        assert_eq!(Name::parse(" \t "), Ok(None));
    }

    #[test]
    fn blanks_around_a_text_are_not_part_of_it() {
        assert_eq!(Name::parse(" bob "), Name::parse("bob"));
    }

    #[test]
    fn controls_and_direction_changes_are_refused() {
        for text in ["a\0b", "a\nb", "a\u{1b}[31m", "a\u{202e}b"] {
            assert_eq!(Name::parse(text), Err(TextError::Control { what: "name" }), "{text:?}");
        }
        assert!(Description::parse("two\nlines").is_ok());
        assert!(Description::parse("a\u{1b}b").is_err());
    }
}
