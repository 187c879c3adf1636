//! What the YAML library says of indentation and punctuation, for people who do not know its grammar.

use super::FilePosition;

/// Where a mistake is and what it is, in plain words. The library stopped at `position` and said `said`.
pub(super) fn explain(text: &str, position: FilePosition, said: &str) -> (FilePosition, String) {
    let plain = without_positions(said);
    // what was never closed begins above the line where the library gives up, which is often the end of the file
    match opened_at(text, said).filter(|opened| opened.line < position.line) {
        None => (position, in_plain_words(text, position, &plain)),
        Some(opened) => {
            let opening =
                text.lines().nth(opened.line - 1).and_then(|line| line.chars().nth(opened.column - 1));
            let meaning = match opening {
                Some('[') => {
                    "the '[' here is never closed: write ']' after the last item, and ',' between items"
                }
                Some('{') => {
                    "the '{' here is never closed: write '}' after the last entry, and ',' between entries"
                }
                _ => "the quotation mark here is never closed: write it again at the end of the value",
            };
            (opened, format!("{meaning} ({plain}; noticed in line {})", position.line))
        }
    }
}

/// Where the bracket or the quoted text begins that the library was reading.
fn opened_at(text: &str, said: &str) -> Option<FilePosition> {
    if said.contains("while parsing a flow node") {
        last_open_bracket(text)
    } else if said.contains("while parsing a flow ") || said.contains("while scanning a quoted scalar") {
        position_at_end(said)
    } else {
        None
    }
}

/// The last bracket in `text` that has no other half. Nothing may follow it but brackets that are closed.
fn last_open_bracket(text: &str) -> Option<FilePosition> {
    let mut closed = 0_usize;
    for (n, line) in text.lines().enumerate().collect::<Vec<_>>().into_iter().rev() {
        for (column, c) in line.chars().enumerate().collect::<Vec<_>>().into_iter().rev() {
            match c {
                ']' | '}' => closed += 1,
                '[' | '{' if closed > 0 => closed -= 1,
                '[' | '{' => return Some(FilePosition { line: n + 1, column: column + 1 }),
                _ => {}
            }
        }
    }
    None
}

/// Reads ` at line 3 column 5` at the end of what the YAML library says.
pub(super) fn position_at_end(text: &str) -> Option<FilePosition> {
    let (_, position) = text.rsplit_once(" at line ")?;
    let (line, column) = position.split_once(" column ")?;
    Some(FilePosition { line: line.parse().ok()?, column: column.parse().ok()? })
}

/// Takes every ` at line 3 column 5` out of what the YAML library says.
fn without_positions(text: &str) -> String {
    let mut pieces = text.split(" at line ");
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        kept.push_str(
            piece
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .trim_start_matches(" column ")
                .trim_start_matches(|c: char| c.is_ascii_digit()),
        );
    }
    kept
}

/// What the YAML library says, in plain words and in its own.
fn in_plain_words(text: &str, position: FilePosition, said: &str) -> String {
    let line = text.lines().nth(position.line.saturating_sub(1)).unwrap_or_default();
    let before: String = line.chars().take(position.column.saturating_sub(1)).collect();
    let indentation = &line[..line.len() - line.trim_start().len()];
    let meaning = if indentation.contains('\t') {
        "a tab indents this line: indent with spaces"
    } else if said.contains("did not find expected '-'") {
        "this line is indented differently from the list above it: begin it with '- ', or indent it like the other keys of \
         its entry"
    } else if said.contains("did not find expected ',' or") {
        "a bracket is not closed here, a ',' is missing, or a value with brackets in it needs quotation marks"
    } else if said.contains("did not find expected key") && before.trim_end().ends_with(['}', ']', '"', '\''])
    {
        "there is text after the end of a value: take it away, or put the whole value into quotation marks"
    } else if said.contains("did not find expected key") {
        "this line is indented differently from the lines that it belongs with: all entries of one section begin in \
         the same column"
    } else if said.contains("could not find expected ':'") {
        "an entry here, or in the line before, has no ': ' between its name and its value: put a space after the colon"
    } else if said.contains("mapping values are not allowed") {
        "there is a ': ' where no entry can begin: put the value into quotation marks, or look at the indentation"
    } else if said.contains("while scanning a quoted scalar") {
        "a quotation mark is never closed, or a '\\' stands in front of something that it cannot escape"
    } else {
        return said.to_owned();
    };
    format!("{meaning} ({said})")
}
