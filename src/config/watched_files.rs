//! What is made of files that the configuration names, and made anew when they change.
//!
//! The files' content is compared, not their times: it shows a rename, a write in place and the switch of a link alike, on
//! every file system. Files are often not changed at once, such as a certificate and its key. So what is new is taken over
//! when two looks in a row have found it, and only then it is told if it cannot be used.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::pem_files::read_pem_file;

/// A value that is made of files.
pub struct WatchedFiles<T> {
    paths: Vec<PathBuf>,
    make: Box<Make<T>>,
    current: ArcSwap<T>,
    looks: Mutex<Looks>,
    is_current: AtomicBool,
}

/// Makes the value of the files' contents; or says, naming the file, why it cannot.
type Make<T> = dyn Fn(&[Zeroizing<Vec<u8>>]) -> Result<T, String> + Send + Sync;

/// A hash of what the files hold, or why one of them cannot be read.
type Content = Result<[u8; 32], String>;

/// What was found in the files.
struct Looks {
    /// When the current value was made.
    current: Content,
    /// At the last look.
    last: Content,
    /// What could not be used, and that was told.
    refused: Option<Content>,
}

/// Files that are to be looked at again and again.
pub trait Watched: Send + Sync {
    /// Looks whether the files have changed, and takes over what they hold. Reads files, so it may block.
    fn look(&self);

    /// The files.
    fn paths(&self) -> &[PathBuf];

    /// Whether what is in use is what the files hold, as far as is known; `false`: they have changed, and cannot be used.
    fn is_current(&self) -> bool;
}

impl<T> WatchedFiles<T> {
    /// Reads the files and makes the value. Without files it never changes.
    pub fn load(
        paths: Vec<PathBuf>,
        make: impl Fn(&[Zeroizing<Vec<u8>>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let contents = read(&paths)?;
        let content = Ok(hash(&contents));
        Ok(Self {
            paths,
            current: ArcSwap::from_pointee(make(&contents)?),
            make: Box::new(make),
            looks: Mutex::new(Looks { current: content.clone(), last: content, refused: None }),
            is_current: AtomicBool::new(true),
        })
    }

    /// The newest value.
    pub fn current(&self) -> Guard<Arc<T>> {
        self.current.load()
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.paths.iter().map(|path| format!("'{}'", path.display())).collect();
        names.join(" and ")
    }
}

impl<T: Send + Sync> Watched for WatchedFiles<T> {
    fn look(&self) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = read(&self.paths);
        let found = contents.as_deref().map(hash).map_err(Clone::clone);
        let is_settled = std::mem::replace(&mut looks.last, found.clone()) == found;
        if !is_settled || looks.refused.as_ref() == Some(&found) {
            return;
        }
        if found == looks.current {
            if looks.refused.take().is_some() {
                self.is_current.store(true, Ordering::Relaxed);
                tracing::info!("{} can be used again", self.names());
            }
            return;
        }
        match contents.and_then(|contents| (self.make)(&contents)) {
            Ok(made) => {
                self.current.store(Arc::new(made));
                looks.current = found;
                looks.refused = None;
                self.is_current.store(true, Ordering::Relaxed);
                tracing::info!("{} changed: new connections use what is there now", self.names());
            }
            Err(why) => {
                looks.refused = Some(found);
                self.is_current.store(false, Ordering::Relaxed);
                tracing::error!(
                    "{} changed and cannot be used, so what was there before stays in use: {why}",
                    self.names()
                );
            }
        }
    }

    fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn is_current(&self) -> bool {
        self.is_current.load(Ordering::Relaxed)
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
    paths.iter().map(|path| read_pem_file(path)).collect()
}

fn hash(contents: &[Zeroizing<Vec<u8>>]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for content in contents {
        context.update(&(content.len() as u64).to_le_bytes());
        context.update(content);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The files' first bytes, if they are alike.
    fn load(paths: &[&Path]) -> WatchedFiles<u8> {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        let made = WatchedFiles::load(paths, |contents: &[Zeroizing<Vec<u8>>]| {
            let first = contents[0].first().copied().ok_or("empty")?;
            contents
                .iter()
                .all(|other| other.first() == Some(&first))
                .then_some(first)
                .ok_or("unlike".to_owned())
        });
        made.unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn what_two_looks_find_is_taken_over_and_what_does_not_fit_leaves_the_former() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let write = |path: &Path, content: &str| fs::write(path, content).unwrap();
        write(&one, "a1");
        write(&two, "a2");
        let watched = load(&[&one, &two]);
        let look = |times: usize| {
            (0..times).for_each(|_| watched.look());
            (**watched.current(), watched.is_current())
        };
        assert_eq!(look(3), (b'a', true));

        write(&one, "b1");
        assert_eq!(look(1), (b'a', true), "the other file may be on its way");
        write(&two, "b2");
        assert_eq!(look(1), (b'a', true), "more may be on its way");
        assert_eq!(look(1), (b'b', true));

        write(&one, "c1");
        assert_eq!(look(2), (b'b', false));
        assert_eq!(look(5), (b'b', false));
        write(&one, "b1");
        assert_eq!(look(2), (b'b', true), "it is as before");

        fs::remove_file(&two).unwrap();
        assert_eq!(look(1), (b'b', true), "another may take its place");
        assert_eq!(look(1), (b'b', false));
        write(&one, "d1");
        write(&two, "d2");
        assert_eq!(look(2), (b'd', true));
    }
}
