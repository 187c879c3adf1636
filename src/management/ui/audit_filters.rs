//! The filters of the audit log: what was typed, what it means, and what is wrong with it.

use std::net::IpAddr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::refusal::Refusal;
use super::super::resource_json::resource_type;
use super::signed_in_request::SignedInRequest;
use crate::model::AccessKey;
use crate::store::{AUDIT_FIELDS, Filter, MAX_IDS_OF_A_NAME, Modifier, ObjectId};

/// What is typed into a filter, and what is compared with it.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// One of these words; the second is the record's field.
    Choice(&'static [&'static str], &'static str),
    Object,
    Actor,
    AccessKey,
    Address,
    From,
    To,
}

/// Parameter, label, example, kind.
const FILTERS: [(&str, &str, &str, Kind); 9] = [
    ("object", "Object", "Name, id or key", Kind::Object),
    ("actor", "Done by", "Name or id", Kind::Actor),
    ("key", "With access key", "pca_…", Kind::AccessKey),
    ("address", "From address", "192.0.2.7", Kind::Address),
    ("from", "From (UTC)", "2026-01-31", Kind::From),
    ("to", "To (UTC)", "2026-01-31", Kind::To),
    (
        "action",
        "Action",
        "",
        Kind::Choice(
            &[
                "create",
                "edit",
                "activate",
                "deactivate",
                "remove",
                "rotate",
                "endrotation",
                "import",
                "rehash",
                "add",
                "role",
            ],
            "action",
        ),
    ),
    (
        "type",
        "Object type",
        "",
        Kind::Choice(&["key", "account", "environment", "membership"], "resourceType"),
    ),
    ("outcome", "Outcome", "", Kind::Choice(&["done", "refused"], "outcome")),
];

/// A filter as it is shown.
pub(super) struct FilterField {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    /// What can be typed.
    pub(super) example: &'static str,
    /// Empty: any text.
    pub(super) choices: &'static [&'static str],
    /// What was typed.
    pub(super) value: String,
    /// Why it filters nothing.
    pub(super) problem: Option<String>,
}

impl FilterField {
    /// Whether what was typed is none of the choices. It is shown among them, marked as wrong.
    pub(super) fn is_unknown_choice(&self) -> bool {
        !self.value.is_empty() && !self.choices.contains(&self.value.as_str())
    }
}

/// What the query string filters by. A value that means nothing has its problem, and no filter.
pub(super) async fn read(request: &SignedInRequest<'_>) -> Result<(Vec<FilterField>, Vec<Filter>), Refusal> {
    let given: Vec<_> = form_urlencoded::parse(request.http.query().as_bytes()).collect();
    let mut fields = Vec::new();
    let mut filters = Vec::new();
    let mut from = None;
    for (name, label, example, kind) in FILTERS {
        let mut values = given.iter().filter(|(given, _)| given == name).map(|(_, value)| value.trim());
        let value = values.next().unwrap_or_default().to_owned();
        let parsed = if values.next().is_some() {
            Err("The address of this page has it twice. Give it once.".to_owned())
        } else if value.is_empty() {
            Ok(None)
        } else {
            parse_filter(request, kind, &value, &mut from).await?
        };
        let (filter, problem) = match parsed {
            Ok(filter) => (filter, None),
            Err(problem) => (None, Some(problem)),
        };
        filters.extend(filter);
        let choices = match kind {
            Kind::Choice(choices, _) => choices,
            _ => &[],
        };
        fields.push(FilterField { name, label, example, choices, value, problem });
    }
    Ok((fields, filters))
}

type ParsedFilter = Result<Option<Filter>, String>;

/// The filter that a value means, or what is wrong with it. `from` is the beginning, once it is known.
async fn parse_filter(
    request: &SignedInRequest<'_>,
    kind: Kind,
    value: &str,
    from: &mut Option<Timestamp>,
) -> Result<ParsedFilter, Refusal> {
    Ok(match kind {
        Kind::Choice(choices, field) if choices.contains(&value) => {
            // types are compared in the API's words
            let word = if field == "resourceType" { resource_type(value) } else { value };
            Ok(any_of(field, vec![word.to_owned()]))
        }
        Kind::Choice(..) => Err("Choose one of the list.".to_owned()),
        Kind::Object => named(request, value, "resourceId", |_| true).await?,
        Kind::Actor => named(request, value, "accountId", |id| !matches!(id, ObjectId::Key(_))).await?,
        Kind::AccessKey => match value.parse::<AccessKey>() {
            Ok(key) => Ok(any_of("accessKey", vec![key.to_string()])),
            Err(_) => Err("An access key has no spaces and no colon, such as pca_….".to_owned()),
        },
        Kind::Address => match value.parse::<IpAddr>() {
            Ok(address) => Ok(any_of("clientIp", vec![address.to_canonical().to_string()])),
            Err(_) => Err("Enter one IP address, such as 192.0.2.7.".to_owned()),
        },
        Kind::From => moments(value).map(|(first, _)| {
            *from = Some(first);
            time(Modifier::Gte, first)
        }),
        Kind::To => moments(value).and_then(|(_, last)| {
            if from.is_some_and(|from| from > last) {
                return Err("The end is before the beginning.".to_owned());
            }
            Ok(time(Modifier::Lte, last))
        }),
    })
}

/// Rows about, or by, what has this id or name.
async fn named(
    request: &SignedInRequest<'_>,
    value: &str,
    field: &str,
    is_wanted: impl Fn(&ObjectId) -> bool,
) -> Result<ParsedFilter, Refusal> {
    let ids = request.operations().ids_of_name(&request.caller, value.to_owned()).await?;
    let ids: Vec<_> = ids.into_iter().filter(is_wanted).collect();
    if ids.len() > MAX_IDS_OF_A_NAME {
        return Ok(Err(format!("More than {MAX_IDS_OF_A_NAME} objects have this name. Enter an id.")));
    }
    let mut texts = vec![value.to_owned()];
    texts.extend(ids.iter().map(ToString::to_string));
    Ok(Ok(any_of(field, texts)))
}

fn any_of(name: &str, values: Vec<String>) -> Option<Filter> {
    let field = AUDIT_FIELDS.iter().find(|field| field.name == name)?;
    Some(Filter::any_of(field, values))
}

fn time(modifier: Modifier, at: Timestamp) -> Option<Filter> {
    let field = AUDIT_FIELDS.iter().find(|field| field.name == "created")?;
    let comparison = field.parse_comparison(modifier, &at.as_millisecond().to_string()).ok()?;
    Some(Filter { field, comparison })
}

/// The first and the last millisecond of a day, a minute or a second. In UTC, if the text does not say otherwise.
fn moments(text: &str) -> Result<(Timestamp, Timestamp), String> {
    let problem = || "Enter a date, or a date and a time: 2026-01-31 or 2026-01-31 09:30.".to_owned();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok((at, at));
    }
    let text = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    let length = match text.len() {
        10 => SignedDuration::from_hours(24),
        16 => SignedDuration::from_mins(1),
        19 => SignedDuration::from_secs(1),
        _ => return Err(problem()),
    };
    let first: DateTime = text.parse().map_err(|_| problem())?;
    let first = first.to_zoned(TimeZone::UTC).map_err(|_| problem())?.timestamp();
    let last = first.checked_add(length - SignedDuration::from_millis(1)).map_err(|_| problem())?;
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_a_minute_or_a_second_in_utc() {
        for (text, first, last) in [
            ("2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T23:59:59.999Z"),
            ("2026-01-31 09:30", "2026-01-31T09:30:00Z", "2026-01-31T09:30:59.999Z"),
            ("2026-01-31T09:30", "2026-01-31T09:30:00Z", "2026-01-31T09:30:59.999Z"),
            ("2026-01-31 09:30:15 UTC", "2026-01-31T09:30:15Z", "2026-01-31T09:30:15.999Z"),
            ("2026-01-31T10:30:15+01:00", "2026-01-31T09:30:15Z", "2026-01-31T09:30:15Z"),
        ] {
            let expected = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(moments(text), Ok(expected), "{text}");
        }
        for text in [
            "yesterday",
            "2026",
            "2026-13-01",
            "2026-01-31 9:30",
            "31.01.2026",
            "2026-01-31 25:00",
            "钥匙钥x",
        ] {
            assert!(moments(text).is_err(), "{text}");
        }
    }
}
