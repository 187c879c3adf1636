//! `unix:/path`: the place of a Unix socket.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::reader::Reader;
use super::yaml::Node;

/// What the system takes as the path of a socket at most (`sun_path` in unix(7), without the zero at its end).
const MAX_PATH_BYTES: usize = 107;

/// The path in `unix:/path`; `None`: the text is something else.
pub(super) fn path_in(text: &str) -> Option<&str> {
    text.strip_prefix("unix:")
}

/// Reads the path of a socket; a relative one is relative to the configuration's file.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<PathBuf> {
    let fits = !path.is_empty() && !path.contains('\0') && !path.starts_with("//") && !path.ends_with('/');
    if !fits {
        return reader.unexpected(node, "the path of a Unix socket, such as unix:/run/api.sock");
    }
    let path = reader.beside_file(path);
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_PATH_BYTES {
        let message = format!(
            "the system takes at most {MAX_PATH_BYTES} bytes as the path of a Unix socket, this one has {length}: {}",
            path.display()
        );
        reader.error(node, message);
        return None;
    }
    Some(path)
}
