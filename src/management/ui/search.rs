//! Search: any key that the caller may see, by its access key, id, name or description.
//!
//! The box sends its text as a form. Somebody who pastes a whole pair must not leave its secret in an address, which
//! browsers keep and proxies log: only the public part goes into the address of the results.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::Serializer;
use http::StatusCode;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::super::answer::Answer;
use super::super::flash::{Notice, NoticeKind};
use super::super::refusal::Refusal;
use super::super::request::Request;
use super::form::Form;
use super::key_display::{key_label, last_use, owner_cell, owner_names};
use super::list_view::{ListDefaults, ListView};
use super::page::{Layout, render};
use super::signed_in_request::{SignedInRequest, redirect, with_query};
use super::table::{Cell, Row, Table, column};
use crate::config::KeyPrefixes;
use crate::model::{AccessKey, KeyId};
use crate::store::{KEY_FIELDS, KeyEntry};

/// No name, description or access key is searched for with more.
const MAX_CHARACTERS: usize = 255;
/// Characters of a minted access key after its prefix and `a_` or `e_`.
const MINTED_CHARACTERS: usize = 20;

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    layout: Layout,
    text: String,
    /// Why nothing was searched for.
    problem: Option<&'static str>,
    table: Option<Table>,
}

/// Why a text is not searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotSearchable {
    Empty,
    Secret,
    TooLong,
}

impl NotSearchable {
    fn sentence(self) -> &'static str {
        match self {
            Self::Empty => "Enter an access key, an id, or a part of a name or description.",
            Self::Secret => {
                "That is a secret key. The gateway does not keep secret keys, so it cannot find a key by one. Search \
                 for the access key that belongs to it."
            }
            Self::TooLong => "A search has at most 255 characters.",
        }
    }
}

/// `/search`, sent
pub(super) fn submit(request: &SignedInRequest<'_>, form: &Form) -> Answer {
    let site = request.management.settings();
    match public_part(form.value("q"), &site.key_prefixes) {
        Ok(text) => redirect(&with_query("/search", &[("q", &text)])),
        Err(why) => not_searched(request, why),
    }
}

/// `/search`
pub(super) async fn show(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    let typed = Zeroizing::new(request.parameter("q").unwrap_or_default());
    let text = match public_part(&typed, &request.management.settings().key_prefixes) {
        Ok(text) if text != *typed => return Ok(redirect(&with_query("/search", &[("q", &text)]))),
        Ok(text) => text,
        Err(why) => return Ok(not_searched(request, why)),
    };
    if let Some(entry) = exact_match(request, &text).await? {
        return Ok(redirect(&format!("/keys/{}", entry.key.id)));
    }
    let table = results(request, &text).await?;
    let mut layout = request.layout_without_section("Search");
    layout.search.clone_from(&text);
    Ok(render(StatusCode::OK, &SearchPage { layout, text, problem: None, table: Some(table) }))
}

fn not_searched(request: &SignedInRequest<'_>, why: NotSearchable) -> Answer {
    let layout = request.layout_without_section("Search");
    let page = SearchPage { layout, text: String::new(), problem: Some(why.sentence()), table: None };
    render(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

/// The address of a request without what follows the colon of a pair, or a secret key, that was pasted into the search box
/// of a list or into a filter of the audit log: such a box is sent in the address. `None`: there is nothing of the kind.
pub(super) fn address_without_secrets(
    request: &Request,
    prefixes: &KeyPrefixes,
) -> Option<(String, Option<Notice>)> {
    let (mut address, mut notice) = (Serializer::new(String::new()), None);
    let mut is_changed = false;
    for (name, value) in form_urlencoded::parse(request.query().as_bytes()) {
        let value = Zeroizing::new(value.into_owned());
        let is_searched = *name == *"search" || name.ends_with("-search");
        let is_filter = request.path() == "/audit";
        // ids, addresses and times have colons too: there only what is certain to be a secret goes
        let is_looked_at = is_searched || is_filter && (name == "key" || holds_secret(&value, prefixes));
        let public = match public_part(&value, prefixes) {
            _ if !is_looked_at => value.to_string(),
            Ok(text) => text,
            Err(NotSearchable::TooLong) => value.trim().to_owned(),
            Err(NotSearchable::Empty) => String::new(),
            Err(why @ NotSearchable::Secret) => {
                notice = Some(Notice { kind: NoticeKind::Problem, text: why.sentence().to_owned() });
                String::new()
            }
        };
        is_changed |= is_looked_at && public != value.trim();
        address.append_pair(&name, &public);
    }
    is_changed.then(|| (format!("{}?{}", request.path(), address.finish()), notice))
}

/// The key with this id or this access key.
async fn exact_match(request: &SignedInRequest<'_>, text: &str) -> Result<Option<KeyEntry>, Refusal> {
    let found = if let Ok(id) = text.parse::<KeyId>() {
        request.operations().key(&request.caller, id).await
    } else if let Ok(access_key) = text.parse::<AccessKey>() {
        request.operations().key_with_access_key(&request.caller, access_key).await
    } else {
        return Ok(None);
    };
    match found {
        Ok(entry) => Ok(Some(entry)),
        Err(Refusal::NotFound) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

async fn results(request: &SignedInRequest<'_>, text: &str) -> Result<Table, Refusal> {
    let now = Timestamp::now();
    let defaults =
        ListDefaults { prefix: "", anchor: "found", fields: KEY_FIELDS, sort: "id", descending: true };
    let view = ListView::read(request.http, defaults);
    let mut query = view.query()?;
    query.search = Some(text.to_owned());
    let page = request.operations().search_keys(&request.caller, query).await?;
    let confirmed_up_to = request.operations().confirmed_up_to().await;
    let names = owner_names(request, &page.items).await?;
    let columns =
        ["State", "Name", "Access key", "Belongs to", "Description", "Last used"].map(column).into();
    let row = |entry: &KeyEntry| {
        let key = &entry.key;
        Row {
            id: key.id.to_string(),
            cells: vec![
                Cell::key_state(entry, now, confirmed_up_to),
                Cell::link(key_label(key), format!("/keys/{}", key.id)),
                Cell::Code(key.access_key.to_string()),
                owner_cell(&key.owner, &names),
                Cell::text(key.description.as_ref()),
                last_use(entry, now),
            ],
            label: key_label(key).to_owned(),
            menu: Vec::new(),
            below: None,
            choice: None,
        }
    };
    Ok(Table::new(
        "found",
        "Keys found".to_owned(),
        columns,
        &page,
        row,
        "No key was found. An access key that is complete belongs to another gateway, or to a key that you may not see.",
        view,
    )
    .counting("key", "keys"))
}

/// What may be searched for and shown: all but what could be a secret.
///
/// A minted access key is taken out of whatever stands around it: a pair, a URL, a `curl` line. Otherwise the text ends
/// before its first colon, since a secret stands after it in every pair. The credential of HTTP Basic is decoded first.
fn public_part(text: &str, prefixes: &KeyPrefixes) -> Result<String, NotSearchable> {
    let text = text.trim();
    let decoded = basic_credential(text);
    let text = decoded.as_ref().map_or(text, |decoded| decoded.as_str());
    let mut is_secret = false;
    for word in words(text) {
        match minted_kind(word, prefixes) {
            Some(Minted::AccessKey) => return Ok(word.to_owned()),
            Some(Minted::Secret) => is_secret = true,
            None => {}
        }
    }
    if is_secret {
        return Err(NotSearchable::Secret);
    }
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(':').next().unwrap_or_default().trim();
    match text.chars().count() {
        0 => Err(NotSearchable::Empty),
        1..=MAX_CHARACTERS => Ok(text.to_owned()),
        _ => Err(NotSearchable::TooLong),
    }
}

fn holds_secret(text: &str, prefixes: &KeyPrefixes) -> bool {
    let decoded = basic_credential(text);
    let text = decoded.as_ref().map_or(text, |decoded| decoded.as_str());
    words(text).any(|word| matches!(minted_kind(word, prefixes), Some(Minted::Secret)))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

enum Minted {
    AccessKey,
    /// Or the beginning of one.
    Secret,
}

fn minted_kind(word: &str, prefixes: &KeyPrefixes) -> Option<Minted> {
    std::iter::once(&prefixes.current).chain(&prefixes.former).find_map(|prefix| {
        let (kind, rest) = word.strip_prefix(prefix.as_str())?.split_at_checked(2)?;
        match kind {
            "a_" | "e_" if rest.len() == MINTED_CHARACTERS => Some(Minted::AccessKey),
            "s_" if !rest.is_empty() => Some(Minted::Secret),
            _ => None,
        }
    })
}

/// The pair in `Basic …`, or in the header that holds it.
fn basic_credential(text: &str) -> Option<Zeroizing<String>> {
    let encoded = text.rsplit(char::is_whitespace).next()?.trim_matches(['\'', '"']);
    let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let pair = std::str::from_utf8(&bytes).ok()?;
    let (access_key, _) = pair.split_once(':')?;
    access_key.parse::<AccessKey>().ok()?;
    Some(Zeroizing::new(pair.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS_KEY: &str = "pce_0123456789abcdefghjk";
    const SECRET: &str = "pcs_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij";

    fn searched(text: &str) -> Result<String, NotSearchable> {
        public_part(text, &KeyPrefixes { current: "pc".to_owned(), former: vec!["old".to_owned()] })
    }

    #[test]
    fn a_secret_is_never_searched_for() {
        let pair = format!("{ACCESS_KEY}:{SECRET}");
        let encoded = STANDARD.encode(&pair);
        for text in [
            pair.clone(),
            format!("  {pair}\n"),
            format!("curl -u '{pair}' https://gw.test/v1"),
            format!("https://{pair}@gw.test/v1?x=1"),
            format!("Authorization: Basic {encoded}"),
            format!("basic {encoded}"),
            encoded,
            format!("API_ACCESS_KEY={ACCESS_KEY}\nAPI_SECRET_KEY={SECRET}"),
            format!("{SECRET} belongs to {ACCESS_KEY}"),
        ] {
            assert_eq!(searched(&text).as_deref(), Ok(ACCESS_KEY), "{text}");
        }
        assert_eq!(searched("olda_0123456789abcdefghjk:x").as_deref(), Ok("olda_0123456789abcdefghjk"));
        assert_eq!(searched("chosen:pass:word").as_deref(), Ok("chosen"));
        assert_eq!(searched("https://chosen:password@gw.test/").as_deref(), Ok("chosen"));
        assert_eq!(searched(&STANDARD.encode("chosen:password")).as_deref(), Ok("chosen"));
        for text in [SECRET, "pcs_012", "olds_x", &format!(" {SECRET} ")] {
            assert_eq!(searched(text), Err(NotSearchable::Secret), "{text}");
        }
    }

    #[test]
    fn other_texts_are_searched_for_as_they_are() {
        for text in ["ci-server", "1c42", "pce_0123", "<b>", "钥匙", "two words", "100%", "tests_s_x"] {
            assert_eq!(searched(text).as_deref(), Ok(text));
        }
        assert_eq!(searched(" x ").as_deref(), Ok("x"));
        for text in ["", " ", ":", ":secret"] {
            assert_eq!(searched(text), Err(NotSearchable::Empty), "{text}");
        }
        assert_eq!(searched(&"钥".repeat(255)), Ok("钥".repeat(255)));
        assert_eq!(searched(&"x".repeat(256)), Err(NotSearchable::TooLong));
    }
}
