//! The second path of a COPY or MOVE: the field `Destination` (RFC 4918 §10.3).

use super::admit::{Admitted, absolute_form};
use super::headers::{ClientInfo, is_named_by_connection};
use super::refusal::Refusal;
use crate::policy::{self, DestinationHeader, RequestTarget};
use crate::wire::HeaderRule;

/// Reads the second path of a request, as strictly as the first. It may be an absolute path, or a URL of the origin that
/// the client called; what is forwarded is the field as it came.
pub(super) fn webdav_destination<'h>(
    admitted: &Admitted<'h>,
    client: &ClientInfo,
) -> Result<Option<RequestTarget<'h>>, Refusal> {
    let meaning = policy::destination_header(&admitted.method);
    if meaning == DestinationHeader::None {
        return Ok(None);
    }
    let head = admitted.head;
    let mut values = head.fields.values(HeaderRule::Destination);
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(Refusal::Repeated("Destination")),
        (None, _) if meaning == DestinationHeader::Required => {
            return Err(Refusal::Malformed("COPY and MOVE need a Destination"));
        }
        (None, _) => return Ok(None),
    };
    // it would be dropped, and the upstream would look for the path elsewhere
    if is_named_by_connection(&head.fields, b"destination") {
        return Err(Refusal::Malformed("Connection names Destination"));
    }
    let path = if value.starts_with(b"/") { value } else { path_of_url(value, admitted, client)? };
    policy::admit_target(path).map(Some).map_err(Refusal::Path)
}

/// The path of a URL whose origin is the one that the client called.
fn path_of_url<'h>(url: &'h [u8], admitted: &Admitted<'h>, client: &ClientInfo) -> Result<&'h [u8], Refusal> {
    let (scheme, authority, path) =
        absolute_form(url, Refusal::Malformed("Destination is neither a path nor an http URL"))?;
    let (called_scheme, called_host) = client.requested_origin(admitted.head, admitted.host);
    let is_same = scheme.eq_ignore_ascii_case(called_scheme)
        && with_port(scheme, authority).eq_ignore_ascii_case(&with_port(scheme, called_host));
    if !is_same {
        return Err(Refusal::Malformed("Destination names another origin than the request"));
    }
    Ok(if path.is_empty() { b"/" } else { path })
}

/// A host with its port, or its scheme's default one.
fn with_port(scheme: &[u8], authority: &[u8]) -> Vec<u8> {
    let after_address = authority.iter().rposition(|&byte| byte == b']').unwrap_or_default();
    let host = match authority[after_address..].iter().position(|&byte| byte == b':') {
        None => authority,
        Some(at) if after_address + at + 1 == authority.len() => &authority[..after_address + at],
        Some(_) => return authority.to_vec(),
    };
    let port: &[u8] = if scheme.eq_ignore_ascii_case(b"https") { b":443" } else { b":80" };
    [host, port].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_port_has_the_default_one() {
        for (scheme, authority, expected) in [
            ("http", "a", "a:80"),
            ("HTTPS", "a", "a:443"),
            ("http", "a:8080", "a:8080"),
            ("https", "a:", "a:443"),
            ("http", "[::1]", "[::1]:80"),
            ("http", "[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(
                with_port(scheme.as_bytes(), authority.as_bytes()),
                expected.as_bytes(),
                "{authority}"
            );
        }
    }
}
