//! Where `wire` and hyper differ on purpose. `docs/decisions/0011-hyper-as-oracle.md` has the same list.

use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery};

use crate::http2::Conversation;
use crate::message::Message;

/// One kind of difference.
pub(crate) struct Difference {
    /// The error of `wire`, as `message::Refused` names it; or a name of its own.
    pub(crate) name: &'static str,
    /// What is meant, and why `wire` does it.
    pub(crate) why: &'static str,
}

/// A target that is no URI for hyper.
const NO_URI: &str = "target: no URI";

/// Which of them the tests meet: each of these is met by its test, and by no other reading.
pub(crate) const IN_REQUESTS: &[&str] = &[
    "body: Both",
    "body: ContentLength",
    "body: TransferEncoding",
    "chunk: Size",
    "head: LineEnd",
    "head: RequestLine",
    NO_URI,
    "trailers: LineEnd",
    HIGHER_VERSION,
];
pub(crate) const IN_RESPONSES: &[&str] = &[
    "body: Both",
    "body: ContentLength",
    "body: TransferEncoding",
    "head: LineEnd",
    "head: StatusLine",
    "trailers: LineEnd",
    HIGHER_VERSION,
];
pub(crate) const IN_CHUNKS: &[&str] =
    &["chunk: Size", "head: LineEnd", "head: RequestLine", "trailers: LineEnd"];
pub(crate) const IN_HTTP2: &[&str] = &[MALFORMED, NO_AUTHORITY, NO_TOKEN, NO_URI];

/// A method over HTTP/2 that is no token (RFC 9110 §9.1).
const NO_TOKEN: &str = "method: no token";
/// An `:authority` over HTTP/2 that is empty or no authority.
const NO_AUTHORITY: &str = "authority: none";
/// A message over HTTP/2 that RFC 9113 calls malformed.
const MALFORMED: &str = "HTTP/2: malformed";

/// A request or a response of HTTP/1.2 and above.
const HIGHER_VERSION: &str = "version: HTTP/1.2 and above";

/// What `wire` refuses and they take; and at the end what `wire` takes and they refuse. The refusal of the last
/// three is left to the next step, where the gateway has 400 for them.
pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "head: LineEnd",
        why: "A line that ends in a bare LF. RFC 9112 §2.2 allows it, and an upstream that does not would read on.",
    },
    Difference {
        name: "head: RequestLine",
        why: "More than one empty line before a request. RFC 9112 §2.2 asks for one at least.",
    },
    Difference { name: "head: StatusLine", why: "An empty line before a response. RFC 9112 has none there." },
    Difference {
        name: "body: Both",
        why: "Content-Length beside Transfer-Encoding. RFC 9112 §6.3 lets a server mend it; request smuggling lives on it.",
    },
    Difference {
        name: "body: ContentLength",
        why: "Content-Length repeated, as a list, with leading zeros, or in a response without a body too large for a number.",
    },
    Difference {
        name: "body: TransferEncoding",
        why: "A Transfer-Encoding other than one chunked. The gateway could not decode it, and may not pass it on.",
    },
    Difference {
        name: "chunk: Size",
        why: "White space around a client's chunk size, and a client's chunk extensions that are none.",
    },
    Difference { name: "trailers: LineEnd", why: "A line of the trailers that ends in a bare LF." },
    Difference {
        name: MALFORMED,
        why: "White space around a value, a te other than trailers, a pseudo-header field twice or after others: RFC 9113 \
              §8.2 and §8.3 call them malformed.",
    },
    Difference {
        name: HIGHER_VERSION,
        why: "HTTP/1.2 and above. RFC 9110 §2.5 has it read as the highest minor version that is known, HTTP/1.1.",
    },
    Difference {
        name: NO_URI,
        why: "A target that the http crate takes for no URI. Admission judges the bytes as they came.",
    },
    Difference { name: NO_TOKEN, why: "A method over HTTP/2 that is no token. Admission refuses it." },
    Difference { name: NO_AUTHORITY, why: "An :authority that is empty or none. Admission refuses it." },
];

/// The entry for a kind of difference.
pub(crate) fn known(kind: &str) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|difference| difference.name == kind)
}

/// Why hyper may not read a request that `wire` reads.
pub(crate) fn looser(message: &Message) -> String {
    if message.has_higher_version {
        return HIGHER_VERSION.to_owned();
    }
    let at = memchr::memchr(b' ', &message.start).map_or(0, |at| at + 1);
    let target = &message.start[at..];
    let is_text =
        std::str::from_utf8(target).is_ok_and(|target| !target.contains(|c: char| c.is_ascii_control()));
    if is_text && Uri::try_from(target).is_ok() {
        "hyper refuses the head".to_owned()
    } else {
        NO_URI.to_owned()
    }
}

/// The method, and the target without the fragment that hyper cuts off. The gateway refuses a target with one, and
/// judges the rest of it, in the step after (`proxy::admit`).
fn method_and_target(message: &Message) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b' ', &message.start).unwrap_or(message.start.len());
    let target = message.start.get(at + 1..).unwrap_or_default();
    (&message.start[..at], target.split(|&byte| byte == b'#').next().unwrap_or_default())
}

/// A request without what a parsed URI does not tell: the fragment, whether a path was left out of a URL, and the case
/// of its scheme.
pub(crate) fn comparable(message: &Message) -> Message {
    let (method, target) = method_and_target(message);
    let Some(at) = target.windows(3).position(|window| window == b"://") else {
        return if target.is_empty() {
            message.clone()
        } else {
            Message { start: [method, b" ", target].concat(), ..message.clone() }
        };
    };
    let (scheme, rest) = target.split_at(at);
    let path = if rest[3..].contains(&b'/') { "" } else { "/" };
    let start = [method, b" ", &scheme.to_ascii_lowercase(), rest, path.as_bytes()].concat();
    Message { start, ..message.clone() }
}

/// Why h2 may not read a request that `wire` reads.
pub(crate) fn looser_http2(message: &Message) -> String {
    let mut parts = message.start.rsplitn(3, |&byte| byte == b' ');
    let (path, authority, method) = (parts.next(), parts.next(), parts.next());
    let is = |part: Option<&[u8]>, valid: fn(&[u8]) -> bool| part.is_some_and(valid);
    if !is(method, |method| hyper::Method::from_bytes(method).is_ok()) {
        NO_TOKEN
    } else if !is(path, |path| PathAndQuery::try_from(path).is_ok_and(|p| p.as_str().as_bytes() == path)) {
        NO_URI
    } else if !is(authority, |authority| Authority::try_from(authority).is_ok()) {
        NO_AUTHORITY
    } else {
        "h2 refuses the head"
    }
    .to_owned()
}

/// Why `wire` may not read a request that h2 reads. What h2's own client writes must be read.
pub(crate) fn stricter_http2(conversation: &Conversation) -> String {
    let is_well_formed = conversation.is_by_h2 && !conversation.is_disturbed;
    if is_well_formed { "wire refuses what h2 writes" } else { MALFORMED }.to_owned()
}

/// A path without the fragment that h2 cuts off.
pub(crate) fn without_fragment(start: &[u8]) -> &[u8] {
    start.split(|&byte| byte == b'#').next().unwrap_or_default()
}
