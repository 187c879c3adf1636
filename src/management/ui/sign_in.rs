//! Signing in with an account key, and out again.
//!
//! The pair goes through the same code as a credential of HTTP Basic: the same throttle, the same times, and one
//! sentence whatever is wrong with it.

use std::time::Instant;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::SET_COOKIE;
use http::{HeaderValue, StatusCode};
use zeroize::Zeroizing;

use super::super::answer::{Answer, set_refusal_headers};
use super::super::identify::{self, SessionEnd, Visitor};
use super::super::operations::Changed;
use super::super::refusal::Refusal;
use super::super::request::Request;
use super::super::scope;
use super::super::session::{clear_cookie, cookie_name, set_cookie};
use super::super::state::Management;
use super::error_page;
use super::form::Form;
use super::page::{Layout, render};
use super::signed_in_request::{
    SignedInRequest, form_return_path, is_local_path, parameter, redirect, with_query,
};
use crate::auth::Credential;
use crate::store::Via;

/// Why somebody is asked to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignInReason {
    /// The session is over.
    Time,
    /// The session's key does not work any more.
    Key,
    /// The session's own key was just deactivated or deleted by its holder.
    Own,
    /// The same, and a gateway has not confirmed it yet.
    OwnPending,
    /// The session's key may not be used from here.
    Network,
    /// The session's key was narrowed.
    Narrowed,
    /// Somebody has signed out.
    SignedOut,
}

impl From<SessionEnd> for SignInReason {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::Expired => Self::Time,
            SessionEnd::KeyStopped => Self::Key,
            SessionEnd::Network => Self::Network,
            SessionEnd::Narrowed => Self::Narrowed,
        }
    }
}

impl SignInReason {
    const ALL: [Self; 7] =
        [Self::Time, Self::Key, Self::Own, Self::OwnPending, Self::Network, Self::Narrowed, Self::SignedOut];

    /// Somebody has stopped the key that they are using.
    pub(super) fn own_key_stopped<T>(done: &Changed<T>) -> Self {
        if done.is_confirmed() { Self::Own } else { Self::OwnPending }
    }

    /// The word in the page's address.
    fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Key => "key",
            Self::Own => "own",
            Self::OwnPending => "own-pending",
            Self::Network => "network",
            Self::Narrowed => "narrowed",
            Self::SignedOut => "signed-out",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Time => "Your session has ended. Sign in again.",
            Self::Key => {
                "The key that you signed in with no longer works. It, or its account, was deactivated or deleted. Sign \
                 in with another key."
            }
            Self::Own => "You have stopped the key that you were signed in with. Sign in with another key.",
            Self::OwnPending => {
                "You have stopped the key that you were signed in with. This is recorded, but not yet confirmed by every \
                 gateway. Sign in with another key."
            }
            Self::Network => {
                "The key that you signed in with may not be used from your address. Sign in with another key."
            }
            Self::Narrowed => {
                "The key that you signed in with was narrowed to paths or methods without this page. Sign in with \
                 another key."
            }
            Self::SignedOut => "You have signed out.",
        }
    }
}

const WRONG: &str = "Wrong access key or secret key, or the key is not active.";
const ENVIRONMENT_KEY: &str =
    "This is an environment key. The page is for people: sign in with an account key.";
const NARROWED_KEY: &str =
    "This key's scope narrows it to paths or methods without this page: sign in with another key.";

/// Before the names of fields that were typed into another form.
const TYPED: &str = "typed_";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    layout: Layout,
    why: Option<&'static str>,
    problem: Option<String>,
    access_key: String,
    to: String,
    /// What was typed into a form before the session ended.
    typed: Vec<(String, String)>,
}

/// Answers at `/sign-in`.
pub(super) async fn answer(
    management: &Management,
    request: &Request,
    visitor: &Visitor,
    sent: Option<&Form>,
) -> Answer {
    match (sent, visitor) {
        (None, Visitor::SignedIn(..)) => redirect(&destination(request)),
        (None, _) => {
            let why = parameter(request.query(), "why");
            let why = SignInReason::ALL.into_iter().find(|known| Some(known.as_str()) == why.as_deref());
            page(StatusCode::OK, destination(request), why.map(SignInReason::sentence), None, "", Vec::new())
        }
        (Some(form), _) => match sign_in(management, request, form).await {
            Ok(answer) => answer,
            Err(refusal) => refuse(request, form, &refusal),
        },
    }
}

/// Where somebody wanted to go before.
fn destination(request: &Request) -> String {
    parameter(request.query(), "to").filter(|to| is_local_path(to)).unwrap_or_else(|| "/".to_owned())
}

async fn sign_in(management: &Management, request: &Request, form: &Form) -> Result<Answer, Refusal> {
    let Some(credential) = credential(form) else {
        return Err(management.authenticator.refuse_malformed(request.source).into());
    };
    let caller = identify::verify(management, &credential, request, Via::Page).await?;
    let problem = if caller.account().is_none() {
        Some(ENVIRONMENT_KEY)
    } else if !scope::leaves_the_page(&caller.principal().key) {
        Some(NARROWED_KEY)
    } else {
        None
    };
    if let Some(problem) = problem {
        let to = form_return_path(form, "/");
        let problem = Some(problem.to_owned());
        let typed = form.typed(TYPED);
        return Ok(page(StatusCode::FORBIDDEN, to, None, problem, form.value("access_key"), typed));
    }
    // a new session each time: nobody can have set this one's token beforehand
    if let Some(former) = request.cookie(cookie_name(request.is_secure)) {
        management.sessions.end(former);
    }
    let token = management.sessions.begin(caller.identity, &management.settings(), Instant::now());
    let to = form_return_path(form, "/");
    let typed = form.typed(TYPED);
    if !typed.is_empty()
        && let Some(session) = management.sessions.find(&token, &management.settings(), Instant::now())
    {
        session.flash.set_typed(to.clone(), typed);
    }
    let mut answer = redirect(&to);
    let cookie = set_cookie(&token, request.is_secure);
    if let Ok(mut value) = HeaderValue::from_str(&cookie) {
        value.set_sensitive(true);
        answer.headers_mut().insert(SET_COOKIE, value);
    }
    Ok(answer)
}

/// The pair as it would stand in an `Authorization` field; `None` where no such field could hold it.
fn credential(form: &Form) -> Option<Credential> {
    let access_key = form.value("access_key").trim();
    if access_key.contains(':') {
        return None;
    }
    let secret_key = form.value("secret_key");
    let mut pair = Zeroizing::new(Vec::with_capacity(access_key.len() + 1 + secret_key.len()));
    pair.extend_from_slice(access_key.as_bytes());
    pair.push(b':');
    pair.extend_from_slice(secret_key.as_bytes());
    let scheme = b"Basic ";
    let mut field = Zeroizing::new(vec![0; scheme.len() + pair.len().div_ceil(3) * 4]);
    let (start, encoded) = field.split_at_mut(scheme.len());
    start.copy_from_slice(scheme);
    STANDARD.encode_slice(&*pair, encoded).ok()?;
    Credential::parse(&field).ok()
}

/// Shows the form again. What is wrong with a pair is never told apart.
fn refuse(request: &Request, form: &Form, refusal: &Refusal) -> Answer {
    let (status, problem) = match refusal {
        // without a challenge, that browsers would answer with a window of their own, it is no 401 (RFC 9110 §15.5.2)
        Refusal::Unauthorized => (StatusCode::FORBIDDEN, WRONG.to_owned()),
        Refusal::Throttled { retry_after } => {
            let seconds = retry_after.as_millis().div_ceil(1000).max(1);
            let text = format!("Too many failed attempts from your address. Try again in {seconds} seconds.");
            (StatusCode::TOO_MANY_REQUESTS, text)
        }
        _ => return error_page::answer(None, refusal, &request.id),
    };
    let access_key = form.value("access_key");
    let to = form_return_path(form, "/");
    let mut answer = page(status, to, None, Some(problem), access_key, form.typed(TYPED));
    set_refusal_headers(&mut answer, refusal);
    answer
}

fn page(
    status: StatusCode,
    to: String,
    why: Option<&'static str>,
    problem: Option<String>,
    access_key: &str,
    typed: Vec<(String, String)>,
) -> Answer {
    let layout = Layout::signed_out("Sign in");
    render(status, &SignInPage { layout, why, problem, access_key: access_key.to_owned(), to, typed })
}

/// Asks somebody to sign in who has sent a form: what was typed into it is kept until then, and shown in the form again.
pub(super) fn ask_to_sign_in_again(request: &Request, form: &Form, reason: Option<SignInReason>) -> Answer {
    let typed = form.typed("");
    let url = request.head.uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    if typed.is_empty() || !is_local_path(url) {
        return redirect_to_sign_in(request, reason);
    }
    let reason = reason.unwrap_or(SignInReason::Time);
    let mut answer = page(StatusCode::FORBIDDEN, url.to_owned(), Some(reason.sentence()), None, "", typed);
    forget_cookie(&mut answer, request);
    answer
}

/// Sends a stranger to the sign-in page, and from there back to what was asked for.
pub(super) fn redirect_to_sign_in(request: &Request, why: Option<SignInReason>) -> Answer {
    let wanted = request.head.uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    let mut parameters = Vec::new();
    // what was sent is not sent again
    if request.head.method != http::Method::POST && wanted != "/" && is_local_path(wanted) {
        parameters.push(("to", wanted));
    }
    if let Some(why) = why {
        parameters.push(("why", why.as_str()));
    }
    let mut answer = redirect(&with_query("/sign-in", &parameters));
    if why.is_some() {
        forget_cookie(&mut answer, request);
    }
    answer
}

/// Ends the session.
pub(super) fn end_session(request: &SignedInRequest<'_>, why: SignInReason) -> Answer {
    if let Some(token) = request.http.cookie(cookie_name(request.http.is_secure)) {
        request.management.sessions.end(token);
    }
    let mut answer = redirect(&with_query("/sign-in", &[("why", why.as_str())]));
    forget_cookie(&mut answer, request.http);
    answer
}

fn forget_cookie(answer: &mut Answer, request: &Request) {
    if let Ok(cookie) = HeaderValue::from_str(&clear_cookie(request.is_secure)) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(access_key: &str, secret_key: &str) -> Option<(String, Vec<u8>)> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("access_key", access_key)
            .append_pair("secret_key", secret_key)
            .finish();
        let credential = credential(&Form::read(body.as_bytes()))?;
        Some((credential.access_key().to_owned(), credential.secret().to_vec()))
    }

    #[test]
    fn a_pair_is_read_as_basic_reads_it() {
        assert_eq!(read("pca_1", "s:e cret"), Some(("pca_1".to_owned(), b"s:e cret".to_vec())));
        assert_eq!(read(" pca_1\t", "secret"), Some(("pca_1".to_owned(), b"secret".to_vec())));
        assert_eq!(read("a:b", "secret"), None);
        assert_eq!(read("", "secret"), None);
        assert_eq!(read("pca_1", ""), None);
        assert_eq!(read("pca_1", "sec\0ret"), None);
        assert_eq!(read("pca_1", &"x".repeat(2000)), None);
    }
}
