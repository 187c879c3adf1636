//! Tips for people who type the words of other programs.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What other programs call a thing, and the command for it here.
const THINGS: [(&str, &str); 9] = [
    ("user", "account"),
    ("users", "account"),
    ("accounts", "account"),
    ("env", "environment"),
    ("project", "environment"),
    ("projects", "environment"),
    ("environments", "environment"),
    ("keys", "key"),
    ("token", "key"),
];

/// What other programs call an action, and the command for it here.
const ACTIONS: [(&str, &str); 11] = [
    ("revoke", "deactivate"),
    ("disable", "deactivate"),
    ("enable", "activate"),
    ("remove", "delete"),
    ("rm", "delete"),
    ("add", "create"),
    ("new", "create"),
    ("ls", "list"),
    ("get", "show"),
    ("rename", "edit"),
    ("update", "edit"),
];

/// The error with a tip, where there is one.
pub(super) fn with_tip(mut error: clap::Error) -> clap::Error {
    if let Some(tip) = tip(&error) {
        // a word that is spelt alike may mean something else
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn tip(error: &clap::Error) -> Option<String> {
    let text = |kind| error.get(kind).map(ToString::to_string);
    let usage = text(ContextKind::Usage)?;
    let command = usage.split("portcullis ").nth(1)?;
    let thing = ["account", "environment", "key"].into_iter().find(|thing| command.starts_with(thing));
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let typed = text(ContextKind::InvalidSubcommand)?;
            let word_for = |words: &[(&str, &'static str)]| {
                words.iter().find(|(other, _)| *other == typed).map(|(_, ours)| *ours)
            };
            match thing {
                None => match (word_for(&THINGS), word_for(&ACTIONS)) {
                    (Some(thing), _) => Some(format!("it is called `portcullis {thing}` here")),
                    (None, Some(action)) => Some(format!("it is called `portcullis key {action}` here")),
                    (None, None) => None,
                },
                Some(thing) => word_for(&ACTIONS)
                    .map(|action| format!("it is called `portcullis {thing} {action}` here")),
            }
        }
        ErrorKind::UnknownArgument => {
            let typed = text(ContextKind::InvalidArg).filter(|typed| !typed.starts_with('-'))?;
            let mut words = command.split_whitespace();
            match (words.next()?, words.next()?) {
                ("environment", "create") => Some(format!(
                    "`--id {typed}` is how paths name the environment, `--name {typed}` how people call it"
                )),
                ("account", "create") => Some(format!("the name is given as `--name {typed}`")),
                ("key", "create" | "list") => {
                    Some(format!("the owner is given as `--account {typed}` or `--environment {typed}`"))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Arguments;
    use super::*;

    #[track_caller]
    fn told(command: &str) -> String {
        with_tip(Arguments::try_parse_from(command.split_whitespace()).unwrap_err()).to_string()
    }

    #[test]
    fn words_of_other_programs_lead_to_the_command() {
        for (typed, command) in [
            ("portcullis user list", "`portcullis account`"),
            ("portcullis revoke 1c1", "`portcullis key deactivate`"),
            ("portcullis key revoke 1c1", "`portcullis key deactivate`"),
            ("portcullis --output json account rm alice", "`portcullis account delete`"),
            ("portcullis environment create blue", "`--id blue`"),
            ("portcullis account create alice", "`--name alice`"),
            ("portcullis key create alice", "`--account alice`"),
            ("portcullis key list blue", "`--environment blue`"),
        ] {
            let told = told(typed);
            assert!(told.contains("tip: ") && told.contains(command), "{typed}: {told}");
            assert!(!told.contains("similar"), "{typed}: {told}");
        }
        assert!(told("portcullis key lst").contains("similar"), "what is misspelt is clap's to say");
        assert!(!told("portcullis key list --nme x").contains("--account --nme"));
    }
}
