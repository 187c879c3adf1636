//! Who owns the files that root makes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Gid, Uid, fchown};

/// Gives a file that root has just made to whom its folder belongs to: the gateway runs as that user, and must be able to
/// write it. Does nothing for other users, who can make files of their own only. `file` is open, so that nobody can put
/// another in its place.
pub fn give_to_owner_of_folder(file: &File, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::metadata(folder)?;
    if folder.uid() != 0 {
        fchown(file, Some(Uid::from_raw(folder.uid())), Some(Gid::from_raw(folder.gid())))?;
    }
    Ok(())
}
