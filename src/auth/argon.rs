//! argon2id: the hash under which every secret is stored.

use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHasher as _, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::inner_hash::{InnerHash, UnknownInnerHash};
use super::key_format::random_bytes;
use crate::config;
use crate::store::KeyVerifier;

/// Why argon2 cannot hash or verify. None of these carries anything of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgonError {
    /// argon2 does not accept the configured parameters.
    #[error("the argon2 parameters cannot be used: {0}")]
    InvalidParameters(String),
    /// The stored hash is not an argon2id PHC string.
    #[error("the stored hash is not an argon2id hash of version 19")]
    InvalidHash,
    /// What the store says of the hash beneath is unknown to this version.
    #[error("the hash that argon2id is laid over is of no known kind")]
    InvalidInnerHash,
    /// The stored hash asks for more work or memory than this gateway spends on one secret.
    #[error(
        "the stored hash asks for {memory_kib} KiB, {iterations} iterations and {lanes} lanes, which is more than \
         this gateway spends: raise argon2.memory_limit, or set a new secret"
    )]
    TooExpensive {
        /// Its memory.
        memory_kib: u32,
        /// Its passes.
        iterations: u32,
        /// Its lanes.
        lanes: u32,
    },
    /// The system has no memory left.
    #[error("no memory for argon2")]
    OutOfMemory,
}

/// Passes and lanes that a stored hash may ask for, where the configuration asks for fewer.
const MAX_ITERATIONS: u32 = 16;
const MAX_LANES: u32 = 16;

/// A shorter hash could be met by accident.
const MIN_OUTPUT_BYTES: usize = 16;

const SALT_BYTES: usize = 16;

/// The argon2id hash of a secret as a PHC string, under the configured parameters and a salt of its own.
///
/// Takes some 15 ms and the configured memory: not for a thread that serves requests.
pub fn hash_secret(parameters: &config::Argon2, secret: &[u8]) -> Result<String, ArgonError> {
    let params = params_of(parameters)?;
    let mut salt = [0; SALT_BYTES];
    random_bytes(&mut salt);
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(secret, &salt)
        .map_err(|error| ArgonError::InvalidParameters(error.to_string()))?;
    Ok(hash.to_string())
}

fn params_of(parameters: &config::Argon2) -> Result<Params, ArgonError> {
    Params::new(parameters.memory_kib, parameters.iterations, parameters.parallelism, None)
        .map_err(|error| ArgonError::InvalidParameters(error.to_string()))
}

/// Verifies and hashes secrets one after the other in one reused block of memory: a fresh one each time nearly doubles
/// the time.
pub struct Verifier {
    blocks: Vec<Block>,
    limits: Limits,
}

/// What one verification may cost.
#[derive(Clone, Copy)]
struct Limits {
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
    /// What is kept between two verifications, in blocks of 1 KiB.
    kept_blocks: usize,
}

impl Verifier {
    /// One of the configured number of verifiers, which share the memory limit.
    pub fn new(parameters: &config::Argon2) -> Self {
        let share = parameters.memory_limit / 1024 / parameters.threads.max(1) as u64;
        let limits = Limits {
            memory_kib: u32::try_from(share).unwrap_or(u32::MAX),
            iterations: parameters.iterations.max(MAX_ITERATIONS),
            lanes: parameters.parallelism.max(MAX_LANES),
            kept_blocks: parameters.memory_kib as usize,
        };
        Self { blocks: Vec::new(), limits }
    }

    /// Whether `secret` is the one that `phc` was made of, under the parameters that `phc` names.
    pub fn verify(&mut self, phc: &str, secret: &[u8]) -> Result<bool, ArgonError> {
        let hash = PasswordHash::new(phc).map_err(|_| ArgonError::InvalidHash)?;
        let params = Params::try_from(&hash).map_err(|_| ArgonError::InvalidHash)?;
        let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
            return Err(ArgonError::InvalidHash);
        };
        let is_argon2id = hash.algorithm == ARGON2ID_IDENT && hash.version == Some(Version::V0x13.into());
        if !is_argon2id || expected.len() < MIN_OUTPUT_BYTES {
            return Err(ArgonError::InvalidHash);
        }
        self.check(&params)?;
        let mut found = [0; Output::MAX_LENGTH];
        let found = &mut found[..expected.len()];
        self.run(params, secret, salt, found)?;
        Ok(verify_slices_are_equal(found, expected.as_bytes()).is_ok())
    }

    /// Whether `secret` is the one of a key: by the hash that another system has made of it first, where there is one.
    pub fn verify_key(&mut self, verifier: &KeyVerifier, secret: &[u8]) -> Result<bool, ArgonError> {
        let Some(inner) = &verifier.inner else { return self.verify(&verifier.phc, secret) };
        let inner: InnerHash = inner.parse().map_err(|UnknownInnerHash| ArgonError::InvalidInnerHash)?;
        match inner.output(secret) {
            Some(output) => self.verify(&verifier.phc, &output),
            None => Ok(false),
        }
    }

    /// As [`hash_secret`].
    pub fn hash(&mut self, parameters: &config::Argon2, secret: &[u8]) -> Result<String, ArgonError> {
        let mut salt = [0; SALT_BYTES];
        random_bytes(&mut salt);
        let params = params_of(parameters)?;
        let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
        let mut hash = [0; Params::DEFAULT_OUTPUT_LEN];
        self.run(params, secret, &salt, &mut hash)?;
        let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
        Ok(format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}"))
    }

    fn run(
        &mut self,
        params: Params,
        secret: &[u8],
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<(), ArgonError> {
        let blocks = params.block_count();
        if let Some(more) = blocks.checked_sub(self.blocks.len()) {
            self.blocks.try_reserve_exact(more).map_err(|_| ArgonError::OutOfMemory)?;
            self.blocks.resize(blocks, Block::new());
        }
        let result = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
            secret,
            salt,
            output,
            &mut self.blocks[..],
        );
        if self.blocks.len() > self.limits.kept_blocks {
            self.blocks.truncate(self.limits.kept_blocks);
            self.blocks.shrink_to_fit();
        }
        result.map_err(|_| ArgonError::InvalidHash)
    }

    fn check(&self, params: &Params) -> Result<(), ArgonError> {
        let (memory_kib, iterations, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
        let limits = &self.limits;
        if memory_kib > limits.memory_kib || iterations > limits.iterations || lanes > limits.lanes {
            return Err(ArgonError::TooExpensive { memory_kib, iterations, lanes });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Parameters that cost a test next to nothing.
    pub(in crate::auth) fn cheap() -> config::Argon2 {
        config::Argon2 {
            memory_kib: 64,
            iterations: 1,
            parallelism: 1,
            threads: 2,
            queue: 64,
            memory_limit: 4 << 20,
        }
    }

    #[test]
    fn a_hash_verifies_its_own_secret_only() {
        let phc = hash_secret(&cheap(), b"secret").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{phc}");
        assert_ne!(phc, hash_secret(&cheap(), b"secret").unwrap(), "each has a salt of its own");
        let mut verifier = Verifier::new(&cheap());
        assert_eq!(verifier.verify(&phc, b"secret"), Ok(true));
        assert_eq!(verifier.verify(&phc, b"secret "), Ok(false));
        assert_eq!(verifier.verify(&phc, b""), Ok(false));
    }

    #[test]
    fn a_hash_laid_over_another_verifies_the_secret_of_that() {
        let mut verifier = Verifier::new(&cheap());
        let inner: InnerHash = "$apr1$fJe.v9rU".parse().unwrap();
        let phc = verifier.hash(&cheap(), &inner.output(b"secret").unwrap()).unwrap();
        let key = |inner: Option<&str>| KeyVerifier {
            phc: phc.clone(),
            fingerprint: None,
            inner: inner.map(str::to_owned),
        };
        assert_eq!(verifier.verify_key(&key(Some("$apr1$fJe.v9rU")), b"secret"), Ok(true));
        assert_eq!(verifier.verify_key(&key(Some("$apr1$fJe.v9rU")), b"Secret"), Ok(false));
        assert_eq!(verifier.verify_key(&key(Some("$apr1$fJe.v9rV")), b"secret"), Ok(false));
        assert_eq!(verifier.verify_key(&key(None), b"secret"), Ok(false), "the outcome is no secret");
        let unknown = verifier.verify_key(&key(Some("md4")), b"secret");
        assert_eq!(unknown, Err(ArgonError::InvalidInnerHash));
        let plain = verifier.hash(&cheap(), b"secret").unwrap();
        assert_eq!(verifier.verify(&plain, b"secret"), Ok(true));
    }

    #[test]
    fn the_known_answer_of_the_reference_implementation_is_met() {
        // phc-winner-argon2, src/test.c
        let phc = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let mut verifier = Verifier::new(&cheap());
        assert_eq!(verifier.verify(phc, b"password"), Ok(true));
        assert_eq!(verifier.verify(phc, b"passwore"), Ok(false));
    }

    #[test]
    fn the_parameters_of_the_record_are_used_and_the_memory_is_given_back() {
        let more = config::Argon2 { memory_kib: 1024, iterations: 3, parallelism: 2, ..cheap() };
        let phc = hash_secret(&more, b"secret").unwrap();
        let mut verifier = Verifier::new(&cheap());
        assert_eq!(verifier.verify(&phc, b"secret"), Ok(true));
        assert!(verifier.blocks.capacity() <= 64, "{}", verifier.blocks.capacity());
        assert_eq!(verifier.verify(&phc, b"other"), Ok(false));
    }

    #[test]
    fn a_record_that_asks_for_too_much_is_refused_before_it_costs_anything() {
        let mut verifier = Verifier::new(&cheap());
        let tail = "c29tZXNhbHRzb21lc2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        for parameters in ["m=2049,t=1,p=1", "m=64,t=17,p=1", "m=1024,t=1,p=17", "m=4294967295,t=1,p=1"] {
            let result = verifier.verify(&format!("$argon2id$v=19${parameters}${tail}"), b"secret");
            assert!(matches!(result, Err(ArgonError::TooExpensive { .. })), "{parameters}: {result:?}");
        }
        assert_eq!(verifier.blocks.capacity(), 0);
    }

    #[test]
    fn what_is_not_an_argon2id_hash_verifies_nothing() {
        let mut verifier = Verifier::new(&cheap());
        let good = hash_secret(&cheap(), b"secret").unwrap();
        for phc in [
            "",
            "secret",
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA",
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$c2hvcnRoYXNoaGFzaA",
            &good.replace("argon2id", "argon2i"),
            &good.replace("v=19", "v=16"),
        ] {
            assert_eq!(verifier.verify(phc, b"secret"), Err(ArgonError::InvalidHash), "{phc}");
        }
    }
}
