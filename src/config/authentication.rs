//! How secrets are verified: `argon2:`, `cache:`, `throttle:`, `authentication:` and the key prefixes.

use std::time::Duration;

/// `argon2:`, the parameters of new hashes and the means given to verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argon2 {
    /// `memory`: of one run, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Threads that run argon2, and nothing else.
    pub threads: usize,
    /// Verifications that may wait for a thread; more are answered with 503.
    pub queue: usize,
    /// The most memory that all threads together may use, in bytes.
    pub memory_limit: u64,
}

impl Default for Argon2 {
    /// OWASP's parameters (19 MiB, 2 passes, 1 lane); half the cores.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            iterations: 2,
            parallelism: 1,
            threads: (super::cores() / 2).max(1),
            queue: 256,
            memory_limit: 256 << 20,
        }
    }
}

/// `cache:`, what authentication keeps in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Memory for verified keys, in bytes.
    pub max_bytes: u64,
    /// Access keys remembered as unknown.
    pub unknown_keys: u64,
    /// Environments remembered, unknown ones too.
    pub environments: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { max_bytes: 256 << 20, unknown_keys: 65_536, environments: 100_000 }
    }
}

/// `throttle:`, when a source of wrong credentials is told to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// Failures from one address within `window` that block it.
    pub failures: u32,
    /// How long a failure counts.
    pub window: Duration,
    /// How long a blocked address is answered 429; a right secret passes all the same.
    pub block: Duration,
    /// Addresses remembered at most.
    pub sources: usize,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            failures: 20,
            window: Duration::from_secs(60),
            block: Duration::from_secs(60),
            sources: 65_536,
        }
    }
}

/// `key_prefix:` and `former_key_prefixes:`: what minted access keys and secrets start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPrefixes {
    /// Of new keys: `pc` makes `pca_…`, `pce_…` and `pcs_…`.
    pub current: String,
    /// Prefixes that were current once; their keys are still known as minted.
    pub former: Vec<String>,
}

impl Default for KeyPrefixes {
    fn default() -> Self {
        Self { current: "pc".to_owned(), former: Vec::new() }
    }
}

/// `authentication.refusal_time`: when a refusal that cost argon2, or would have, leaves after the request arrived.
pub const DEFAULT_REFUSAL_TIME: Duration = Duration::from_millis(250);

/// `store.max_staleness`: how long what the gateway knows is good for without the record.
pub const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(60);
