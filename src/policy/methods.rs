//! What a method means to the rules: whether it reads, and whether it names a second path.

use http::Method;

/// Whether IANA's registry of methods calls this one safe, and the gateway forwards it (RFC 9110 §9.2.1). Of the safe
/// ones, TRACE and PRI are never forwarded.
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || matches!(method.as_str(), "PROPFIND" | "QUERY" | "REPORT" | "SEARCH")
}

/// What the field `Destination` is to a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationHeader {
    /// The second path that the method works on.
    Required,
    /// Some servers read it, so it is checked if it is there. Apache's BIND is one.
    Possible,
    /// An ordinary header: no server takes a path from it.
    None,
}

/// What `Destination` is to this method. Some servers fold a method's case, so its name is compared without.
pub fn destination_header(method: &Method) -> DestinationHeader {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::PATCH => DestinationHeader::None,
        _ if ["COPY", "MOVE"].iter().any(|name| method.as_str().eq_ignore_ascii_case(name)) => {
            DestinationHeader::Required
        }
        _ => DestinationHeader::Possible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str) -> Method {
        name.parse().unwrap()
    }

    #[test]
    fn case_95_safe_methods_are_those_of_the_registry() {
        for name in ["GET", "HEAD", "OPTIONS", "PROPFIND", "QUERY", "REPORT", "SEARCH"] {
            assert!(is_safe(&method(name)), "{name}");
        }
        for name in [
            "POST",
            "PUT",
            "PATCH",
            "DELETE",
            "COPY",
            "MOVE",
            "LOCK",
            "MKCOL",
            "PROPPATCH",
            "ACL",
            "PRI",
            "TRACE",
            "CONNECT",
            "get",
            "propfind",
            "Report",
            "SEARCHX",
            "X",
        ] {
            assert!(!is_safe(&method(name)), "{name}");
        }
    }

    #[test]
    fn case_93_the_methods_that_name_a_second_path() {
        for name in ["COPY", "MOVE", "copy", "Move"] {
            assert_eq!(destination_header(&method(name)), DestinationHeader::Required, "{name}");
        }
        for name in ["BIND", "REBIND", "MKCOL", "COPYX", "get"] {
            assert_eq!(destination_header(&method(name)), DestinationHeader::Possible, "{name}");
        }
        for name in ["GET", "POST", "PATCH"] {
            assert_eq!(destination_header(&method(name)), DestinationHeader::None, "{name}");
        }
    }
}
