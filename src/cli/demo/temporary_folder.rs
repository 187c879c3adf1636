//! The folder that everything of a demo lies in.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::cli::output::eprint_line;

/// A new folder that only its owner can read; removed with all that is in it when this goes.
#[derive(Debug)]
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(super) fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("portcullis-demo-{}", uuid::Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            // the log may have ended by now
            eprint_line(format_args!(
                "portcullis: cannot remove the demo's folder {}: {error}",
                self.0.display()
            ));
        }
    }
}
