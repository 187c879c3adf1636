//! The files that other systems' keys come in, read line by line.

use std::collections::HashMap;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::auth::{ChosenPair, ChosenPairError, ForeignHash, refuse_minted};
use crate::cli::output::eprint_line;
use crate::config::KeyPrefixes;
use crate::model::{AccessKey, Description, Name, WantedEnd};

/// A longer line is nobody's pair.
const MAX_LINE_BYTES: usize = 16 << 10;
/// A line with more fields is not read.
const MAX_FIELDS: usize = 64;

/// What wrote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum FileFormat {
    // no doc comments here: they would stand in the command's help as a list of their own
    Htpasswd,
    Kong,
    Rancher,
    Csv,
}

/// One line of the file, or one entry.
pub(super) struct FileLine {
    pub(super) number: usize,
    /// What it calls the key, as it may be printed.
    pub(super) shown_name: String,
    pub(super) entry: Result<FileEntry, String>,
}

/// A key as the file has it.
pub(super) struct FileEntry {
    pub(super) access_key: AccessKey,
    pub(super) secret: FileSecret,
    pub(super) name: Option<Name>,
    pub(super) description: Option<Description>,
    /// `None`: nothing is said of it.
    pub(super) expires: Option<WantedEnd>,
}

/// What the file has of a secret.
pub(super) enum FileSecret {
    Plain(Zeroizing<Vec<u8>>),
    Hashed(ForeignHash),
}

/// The texts of a line, before they are judged.
#[derive(Clone, Copy, Default)]
struct Texts<'t> {
    access_key: &'t str,
    name: &'t str,
    description: &'t str,
    expires: &'t str,
}

/// Reads a whole file.
pub(super) fn read(
    format: FileFormat,
    bytes: &[u8],
    prefixes: &KeyPrefixes,
) -> anyhow::Result<Vec<FileLine>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if format == FileFormat::Kong && is_document(bytes) {
        return kong_document(bytes, prefixes);
    }
    let mut columns: Option<Vec<String>> = None;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_LINE_BYTES {
            lines.push(unreadable(number, "the line is longer than 16 KiB"));
            continue;
        }
        if line.trim_ascii().is_empty() || (line.starts_with(b"#") && format == FileFormat::Htpasswd) {
            continue;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            lines.push(unreadable(number, "the line is not UTF-8"));
            continue;
        };
        let judge = |texts, secret| judged(number, texts, secret, prefixes);
        if format == FileFormat::Htpasswd {
            lines.push(match line.split_once(':') {
                Some((access_key, rest)) => {
                    // what follows another colon is a comment
                    let hash = rest.split(':').next().unwrap_or_default();
                    let secret = ForeignHash::of_htpasswd(hash).map(FileSecret::Hashed);
                    judge(Texts { access_key, ..Texts::default() }, secret.map_err(|error| error.to_string()))
                }
                None => unreadable(number, "expected a name, a colon and a hash"),
            });
            continue;
        }
        let fields = match split(line, if line.contains('\t') { '\t' } else { ',' }) {
            Ok(fields) => fields,
            Err(why) => {
                lines.push(unreadable(number, why));
                continue;
            }
        };
        if lines.is_empty() && columns.is_none() && is_heading(format, &fields) {
            columns = Some(fields.iter().map(|name| name.trim().to_ascii_lowercase()).collect());
            continue;
        }
        let row = Row { fields: &fields, columns: columns.as_deref() };
        lines.push(match format {
            FileFormat::Kong => kong_row(number, &row, prefixes),
            FileFormat::Rancher => rancher_row(number, &row, prefixes),
            FileFormat::Csv | FileFormat::Htpasswd if (2..=5).contains(&fields.len()) => {
                let secret = FileSecret::Plain(Zeroizing::new(row.get(1, &["secret"]).as_bytes().to_vec()));
                let texts = Texts {
                    access_key: row.get(0, &["access_key"]),
                    name: row.get(2, &["name"]),
                    description: row.get(3, &["description"]),
                    expires: row.get(4, &["expires"]),
                };
                judge(texts, Ok(secret))
            }
            FileFormat::Csv | FileFormat::Htpasswd => {
                unreadable(number, "expected access_key,secret and perhaps name,description,expires")
            }
        });
    }
    Ok(lines)
}

/// The fields of a line, and what they are called where the file says so.
struct Row<'r> {
    fields: &'r [Zeroizing<String>],
    columns: Option<&'r [String]>,
}

impl<'r> Row<'r> {
    /// The field under one of these names, or at this place in a file without names. Empty where there is none.
    fn get(&self, place: usize, names: &[&str]) -> &'r str {
        let at = match self.columns {
            Some(columns) => columns.iter().position(|column| names.contains(&column.as_str())),
            None => Some(place),
        };
        let field = at.and_then(|at| self.fields.get(at)).map_or("", |field| field.as_str());
        // as MySQL and PostgreSQL write that there is nothing
        if matches!(field, "NULL" | "\\N") { "" } else { field }
    }
}

fn is_heading(format: FileFormat, fields: &[Zeroizing<String>]) -> bool {
    let wanted = match format {
        FileFormat::Csv | FileFormat::Htpasswd => "access_key",
        FileFormat::Kong => "username",
        FileFormat::Rancher => "public_value",
    };
    fields.iter().any(|field| field.trim().eq_ignore_ascii_case(wanted))
}

fn rancher_row(number: usize, row: &Row<'_>, prefixes: &KeyPrefixes) -> FileLine {
    let state = row.get(usize::MAX, &["state"]);
    let kind = row.get(usize::MAX, &["kind"]);
    let secret = if !matches!(state, "" | "active") {
        Err(format!("it is {} in Rancher, and would work here", state.escape_debug()))
    } else if !matches!(kind, "" | "apiKey") {
        Err(format!("it is no API key in Rancher, but of the kind {}", kind.escape_debug()))
    } else {
        ForeignHash::of_rancher(row.get(1, &["secret_value"]))
            .map(FileSecret::Hashed)
            .map_err(|error| error.to_string())
    };
    let texts = Texts {
        access_key: row.get(0, &["public_value"]),
        name: row.get(2, &["name"]),
        description: row.get(3, &["description"]),
        expires: "",
    };
    judged(number, texts, secret, prefixes)
}

/// Without a heading, the fields are told apart by what they look like.
fn kong_row(number: usize, row: &Row<'_>, prefixes: &KeyPrefixes) -> FileLine {
    let is_hash = |text: &str| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_uuid = |text: &str| uuid::Uuid::try_parse(text).is_ok();
    let place = |is: &dyn Fn(&str) -> bool, otherwise| {
        row.fields.iter().position(|field| is(field)).unwrap_or(otherwise)
    };
    let (hash, consumer) = (place(&is_hash, 1), place(&is_uuid, 2));
    let username = (0..3).find(|at| ![hash, consumer].contains(at)).unwrap_or_default();
    kong_credential(
        number,
        row.get(username, &["username"]),
        row.get(hash, &["password"]),
        row.get(consumer, &["consumer_id", "consumer"]),
        prefixes,
    )
}

fn kong_credential(
    number: usize,
    access_key: &str,
    hash: &str,
    consumer: &str,
    prefixes: &KeyPrefixes,
) -> FileLine {
    let secret = if consumer.is_empty() {
        Err("the id of the consumer is missing, which the hash was made with (deck: dump with --with-id)"
            .to_owned())
    } else {
        ForeignHash::of_kong(hash, consumer).map(FileSecret::Hashed).map_err(|error| error.to_string())
    };
    judged(number, Texts { access_key, ..Texts::default() }, secret, prefixes)
}

/// JSON or YAML: an answer of Kong's Admin API, `kong config db_export`, or a dump of deck.
fn is_document(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    matches!(start.first(), Some(b'{' | b'['))
        || memchr::memmem::find(bytes, b"basicauth_credentials:").is_some()
}

fn kong_document(bytes: &[u8], prefixes: &KeyPrefixes) -> anyhow::Result<Vec<FileLine>> {
    // JSON is YAML too, but reading it as such takes several times as long
    let document: Value = match serde_json::from_slice(bytes) {
        Ok(document) => document,
        Err(_) => serde_yaml::from_slice(bytes)
            .map_err(|_| anyhow::anyhow!("the file is neither JSON nor YAML, nor comma-separated"))?,
    };
    if document["next"].is_string() {
        eprint_line(format_args!(
            "portcullis: warning: this is one page of an answer of Kong, and there are more: see `next` in the file"
        ));
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let consumers = list(&document["consumers"]);
    let ids: HashMap<&str, &Value> = consumers
        .iter()
        .filter_map(|consumer| Some((consumer["username"].as_str()?, &consumer["id"])))
        .collect();
    let mut found: Vec<(Value, String)> = Vec::new();
    let lists = [&document, &document["data"], &document["basicauth_credentials"]];
    for credential in lists.into_iter().flat_map(list) {
        let consumer = match &credential["consumer"] {
            Value::String(id_or_name) => {
                ids.get(id_or_name.as_str()).map_or(id_or_name.clone(), |id| text(id))
            }
            Value::Object(consumer) => consumer.get("id").map(text).unwrap_or_default(),
            _ => text(&credential["consumer_id"]),
        };
        found.push((credential, consumer));
    }
    for consumer in &consumers {
        let of_consumer = list(&consumer["basicauth_credentials"]);
        found.extend(of_consumer.into_iter().map(|credential| (credential, text(&consumer["id"]))));
    }
    anyhow::ensure!(!found.is_empty(), "the file holds no basicauth_credentials");
    let line = |(number, (credential, consumer)): (usize, &(Value, String))| {
        let (username, hash) = (text(&credential["username"]), text(&credential["password"]));
        kong_credential(number, &username, &hash, consumer, prefixes)
    };
    Ok((1..).zip(&found).map(line).collect())
}

/// Judges the texts of a line.
fn judged(
    number: usize,
    texts: Texts<'_>,
    secret: Result<FileSecret, String>,
    prefixes: &KeyPrefixes,
) -> FileLine {
    let shown_name: String = texts.access_key.chars().take(80).flat_map(char::escape_debug).collect();
    let entry = || -> Result<FileEntry, String> {
        if !texts.access_key.is_ascii() {
            return Err("the name holds characters outside ASCII, which clients encode differently \
                        (python-requests as Latin-1, browsers as UTF-8): rename it"
                .to_owned());
        }
        let access_key: AccessKey = texts
            .access_key
            .parse()
            .map_err(|_| format!("a name has 1 to {} characters without spaces", AccessKey::MAX_BYTES))?;
        let unusable = |error: ChosenPairError| error.to_string();
        refuse_minted(prefixes, access_key.as_str(), "").map_err(unusable)?;
        let secret = secret?;
        if let FileSecret::Plain(secret) = &secret {
            ChosenPair::new(access_key.clone(), secret.clone(), prefixes).map_err(unusable)?;
        }
        Ok(FileEntry {
            access_key,
            secret,
            name: Name::parse(texts.name).map_err(|error| error.to_string())?,
            description: Description::parse(texts.description).map_err(|error| error.to_string())?,
            expires: match texts.expires.trim() {
                "" => None,
                expires => Some(expires.parse().map_err(|error| format!("expires: {error}"))?),
            },
        })
    };
    FileLine { number, shown_name, entry: entry() }
}

/// A line of which nothing is shown: it may hold a secret anywhere.
fn unreadable(number: usize, why: &str) -> FileLine {
    FileLine { number, shown_name: String::new(), entry: Err(why.to_owned()) }
}

/// The fields of a line (RFC 4180, each line by itself).
fn split(line: &str, separator: char) -> Result<Vec<Zeroizing<String>>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        if fields.len() == MAX_FIELDS {
            return Err("the line has too many fields");
        }
        let mut field = Zeroizing::new(String::new());
        if let Some(mut quoted) = rest.strip_prefix('"') {
            // with all its room at once: a text that grows leaves copies behind
            field.reserve_exact(rest.len());
            loop {
                let (text, after) = quoted.split_once('"').ok_or("a quotation mark is not closed")?;
                field.push_str(text);
                let Some(more) = after.strip_prefix('"') else {
                    rest = after;
                    break;
                };
                field.push('"');
                quoted = more;
            }
            if !rest.is_empty() && !rest.starts_with(separator) {
                return Err("something follows a quotation mark");
            }
        } else {
            let end = rest.find(separator).unwrap_or(rest.len());
            field.reserve_exact(end);
            field.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        fields.push(field);
        match rest.strip_prefix(separator) {
            Some(more) => rest = more,
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSUMER: &str = "8a4c6c3e-6f0c-4f6e-9c0a-0d3b8f1f7f00";
    const SHA1: &str = "e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4";

    fn lines(format: FileFormat, text: &str) -> Vec<(usize, String, Result<(), String>)> {
        let read = read(format, text.as_bytes(), &KeyPrefixes::default()).unwrap();
        read.into_iter().map(|line| (line.number, line.shown_name, line.entry.map(|_| ()))).collect()
    }

    #[track_caller]
    fn assert_all_read(format: FileFormat, text: &str, names: &[&str]) {
        let lines = lines(format, text);
        let read: Vec<_> = lines.iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(read, names, "{lines:?}");
        assert!(lines.iter().all(|(.., read)| read.is_ok()), "{lines:?}");
    }

    #[test]
    fn fields_may_stand_in_quotation_marks() {
        let split = |line| {
            super::split(line, ',')
                .map(|fields| fields.iter().map(|field| field.as_str().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(split("a,b,,"), Ok(vec!["a".to_owned(), "b".to_owned(), String::new(), String::new()]));
        assert_eq!(split(r#""a,b","say ""x""""#), Ok(vec!["a,b".to_owned(), r#"say "x""#.to_owned()]));
        assert!(split(r#""a"#).is_err() && split(r#""a"b,c"#).is_err());
    }

    #[test]
    fn kong_is_read_in_every_form_that_it_is_exported_in() {
        for text in [
            format!("username,password,consumer_id\nbob,{SHA1},{CONSUMER}\n"),
            format!("id,consumer_id,username,password\n{CONSUMER},{CONSUMER},bob,{SHA1}\n"),
            format!("bob,{SHA1},{CONSUMER}\n"),
            format!("{CONSUMER},bob,{SHA1}\n"),
            format!(
                r#"{{"data":[{{"username":"bob","password":"{SHA1}","consumer":{{"id":"{CONSUMER}"}}}}]}}"#
            ),
            format!(
                "_format_version: '3.0'\nbasicauth_credentials:\n- username: bob\n  password: {SHA1}\n  consumer: {CONSUMER}\n"
            ),
            format!(
                "consumers:\n- username: b\n  id: {CONSUMER}\n  basicauth_credentials:\n  - username: bob\n    password: {SHA1}\n"
            ),
            format!(
                "consumers:\n- username: b\n  id: {CONSUMER}\nbasicauth_credentials:\n- {{ username: bob, password: {SHA1}, consumer: b }}\n"
            ),
        ] {
            assert_all_read(FileFormat::Kong, &text, &["bob"]);
        }
        let without = lines(FileFormat::Kong, &format!("username,password\nbob,{SHA1}\n"));
        assert!(without[0].2.as_ref().unwrap_err().contains("consumer"), "{without:?}");
    }

    #[test]
    fn rancher_is_read_with_tabs_and_commas() {
        let hash = format!("SHA256:00ff:{}", "ab".repeat(32));
        assert_all_read(
            FileFormat::Rancher,
            &format!(
                "public_value\tsecret_value\tname\tdescription\n0123456789ABCDEF0123\t{hash}\tci\tNULL\n"
            ),
            &["0123456789ABCDEF0123"],
        );
        assert_all_read(FileFormat::Rancher, &format!("KEY,{hash}\nKEY2,HASH:{hash}\n"), &["KEY", "KEY2"]);
        let inactive =
            lines(FileFormat::Rancher, &format!("public_value,secret_value,state\nKEY,{hash},inactive\n"));
        assert!(inactive[0].2.as_ref().unwrap_err().contains("inactive"), "{inactive:?}");
    }

    #[test]
    fn csv_and_htpasswd_are_read_line_by_line() {
        assert_all_read(
            FileFormat::Csv,
            "\u{feff}access_key,secret,name\r\nbob,\"a,b\",Bob\r\n\r\nann,x,,,90d\r\n",
            &["bob", "ann"],
        );
        let sha = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
        assert_all_read(FileFormat::Htpasswd, &format!("# x\nbob:{sha}:Bob\n\nann:{sha}"), &["bob", "ann"]);
        for (text, reason) in [
            ("bob".to_owned(), "a colon"),
            (format!("b b:{sha}"), "without spaces"),
            (format!(":{sha}"), "1 to 128"),
            (format!("{}:{sha}", "x".repeat(129)), "1 to 128"),
            (format!("pca_x:{sha}"), "the gateway's own"),
            (format!("bjørn:{sha}"), "python-requests"),
            ("bob:secret".to_owned(), "plain text"),
        ] {
            let lines = lines(FileFormat::Htpasswd, &text);
            assert!(lines[0].2.as_ref().unwrap_err().contains(reason), "{text}: {lines:?}");
        }
    }
}
