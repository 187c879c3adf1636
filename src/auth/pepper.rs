//! Peppers: the keys of the stored fingerprints. They live in files outside the store, so that a copy of the store
//! alone says nothing about a secret.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::fingerprint::MacKey;
use super::key_format::random_bytes;
use crate::model::AccessKey;
use crate::store::{Fingerprint, PepperId, give_to_owner_of_folder};

/// Why a pepper cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// There is a file already; it may be what a store's fingerprints were made under.
    #[error("the pepper file {} exists and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("pepper file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than the owner may change it, or any user may read it.
    #[error(
        "the pepper file {} may be read or changed by others (mode {mode:03o}): run chmod 600 on it, \
         and replace the pepper if others may have read it",
        path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("the pepper file {} does not hold 64 hexadecimal digits", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// Two files hold the same pepper.
    #[error("the pepper files hold the pepper {id} twice")]
    Twice {
        /// Which one.
        id: PepperId,
    },
    /// The configuration names no file.
    #[error("no pepper file is configured")]
    None,
}

/// Permission bits that a pepper file may not have: the group may read it (a secret mounted for a service's group),
/// all else is the owner's.
const FORBIDDEN_MODE: u32 = 0o037;

const PEPPER_BYTES: usize = 32;

/// A file holds the pepper in hexadecimal and, unless another tool wrote it, a line end.
const DIGITS: usize = 2 * PEPPER_BYTES;

struct Pepper {
    id: PepperId,
    key: MacKey,
}

/// The peppers that this gateway holds: new fingerprints are made under the current one, the others are still read.
pub struct Peppers {
    current: Pepper,
    former: Vec<Pepper>,
}

impl Peppers {
    /// Reads the files; the first holds the current pepper.
    pub fn load(paths: &[PathBuf]) -> Result<Self, PepperError> {
        let (current, former) = paths.split_first().ok_or(PepperError::None)?;
        let mut peppers = Self { current: read(current)?, former: Vec::new() };
        for path in former {
            let pepper = read(path)?;
            if peppers.get(pepper.id).is_some() {
                return Err(PepperError::Twice { id: pepper.id });
            }
            peppers.former.push(pepper);
        }
        Ok(peppers)
    }

    /// Makes a new pepper and writes it to a new file that only the owner can read. Overwrites nothing.
    pub fn create(path: &Path) -> Result<PepperId, PepperError> {
        let mut bytes = Zeroizing::new([0; PEPPER_BYTES]);
        random_bytes(&mut *bytes);
        let mut text = Zeroizing::new(String::with_capacity(DIGITS + 1));
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        text.extend(digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        text.push('\n');
        write_new(path, text.as_bytes()).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => PepperError::Exists { path: path.to_owned() },
            _ => PepperError::Io { path: path.to_owned(), source },
        })?;
        Ok(id(&bytes))
    }

    /// The id of the current pepper.
    pub fn current(&self) -> PepperId {
        self.current.id
    }

    /// Those of `known` that this gateway does not have. A secret with a fingerprint under one of them costs argon2 once.
    pub fn missing(&self, known: &[PepperId]) -> Vec<PepperId> {
        known.iter().copied().filter(|id| self.get(*id).is_none()).collect()
    }

    /// The fingerprint of a minted pair under the current pepper. Never to be made for a secret that a person chose:
    /// with the pepper it can be guessed at the speed of SHA-256.
    pub fn fingerprint(&self, access_key: &AccessKey, secret: &[u8]) -> Fingerprint {
        Fingerprint { pepper: self.current.id, mac: self.current.key.of_pair(access_key, secret).0 }
    }

    /// The prepared key of a pepper.
    pub(super) fn get(&self, id: PepperId) -> Option<&MacKey> {
        std::iter::once(&self.current)
            .chain(&self.former)
            .find(|pepper| pepper.id == id)
            .map(|pepper| &pepper.key)
    }

    /// The prepared key of the current pepper.
    pub(super) fn current_key(&self) -> &MacKey {
        &self.current.key
    }
}

impl std::fmt::Debug for Peppers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peppers({} and {} former)", self.current.id, self.former.len())
    }
}

/// The pepper's name: the first bytes of a digest, from which 32 random bytes cannot be found.
fn id(bytes: &[u8; PEPPER_BYTES]) -> PepperId {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"portcullis pepper id\0");
    context.update(bytes);
    let mut id = [0; 8];
    id.copy_from_slice(&context.finish().as_ref()[..8]);
    PepperId(id)
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    give_to_owner_of_folder(&file, path)?;
    file.write_all(contents)?;
    file.sync_all()?;
    // the name is on the disk only when the directory is
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn read(path: &Path) -> Result<Pepper, PepperError> {
    let io = |source| PepperError::Io { path: path.to_owned(), source };
    let form = || PepperError::Form { path: path.to_owned() };
    let mut file = File::open(path).map_err(io)?;
    // of the opened file, not of the name: nobody can exchange it in between
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.mode() & 0o777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(PepperError::Permissions { path: path.to_owned(), mode });
    }
    // one byte more than any pepper file has, so that a longer one is noticed
    let mut text = Zeroizing::new([0; DIGITS + 2]);
    let mut length = 0;
    while length < text.len() {
        match file.read(&mut text[length..]).map_err(io)? {
            0 => break,
            read => length += read,
        }
    }
    let bytes = decode(&text[..length]).ok_or_else(form)?;
    Ok(Pepper { id: id(&bytes), key: MacKey::new(&bytes) })
}

fn decode(text: &[u8]) -> Option<Zeroizing<[u8; PEPPER_BYTES]>> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    if digits.len() != DIGITS {
        return None;
    }
    let mut bytes = Zeroizing::new([0; PEPPER_BYTES]);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_created_pepper_is_the_owners_alone_and_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pepper");
        let id = Peppers::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Peppers::load(&[path]).unwrap().current(), id);
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pepper");
        Peppers::create(&path).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(Peppers::create(&path), Err(PepperError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_pepper_that_others_may_read_or_change_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pepper");
        Peppers::create(&path).unwrap();
        for (mode, is_read) in
            [(0o400, true), (0o440, true), (0o640, true), (0o644, false), (0o660, false), (0o604, false)]
        {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let result = Peppers::load(std::slice::from_ref(&path));
            assert_eq!(result.is_ok(), is_read, "{mode:o}: {result:?}");
        }
    }

    #[test]
    fn a_file_that_holds_something_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pepper");
        for contents in [
            "",
            "00",
            &"x".repeat(65),
            &"0".repeat(65),
            &"0".repeat(66),
            &"+1".repeat(32),
            &("00".repeat(32) + "\n\n"),
        ] {
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let result = Peppers::load(std::slice::from_ref(&path));
            assert!(matches!(result, Err(PepperError::Form { .. })), "{contents:?}: {result:?}");
        }
        assert!(matches!(Peppers::load(&[]), Err(PepperError::None)));
    }

    #[test]
    fn new_fingerprints_are_made_under_the_first_pepper_and_all_are_held() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().join("new"), directory.path().join("old")];
        let ids = [Peppers::create(&paths[0]).unwrap(), Peppers::create(&paths[1]).unwrap()];
        let peppers = Peppers::load(&paths).unwrap();
        assert_eq!(peppers.fingerprint(&"pca_x".parse().unwrap(), b"secret").pepper, ids[0]);
        assert_eq!(peppers.missing(&[ids[1], PepperId([0; 8]), ids[0]]), [PepperId([0; 8])]);
        let twice = Peppers::load(&[paths[0].clone(), paths[0].clone()]);
        assert!(matches!(twice, Err(PepperError::Twice { id }) if id == ids[0]));
    }
}
