//! A wall clock that the test sets and one program reads: libfaketime, preloaded into that program. Monotonic clocks
//! go on as they are, so this is what happens when somebody, or NTP, sets a machine's clock.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

/// Where Debian's package has it; the loader fills in `$LIB`.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";
/// Central Europe, spelt out, so that it needs no database of time zones.
const ZONE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// The clock; it starts right.
#[derive(Debug)]
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// A clock that is kept in a file of `directory`.
    #[track_caller]
    pub fn in_directory(directory: &Path) -> Self {
        let clock = Self { file: directory.join("wall-clock") };
        clock.set_ahead(SignedDuration::ZERO);
        clock
    }

    /// What the program's environment must hold. Its time zone is one with summer time.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        let file = self.file.to_str().expect("a path in UTF-8").to_owned();
        let fixed = |name, value: &str| (name, value.to_owned());
        [
            fixed("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", file),
            fixed("FAKETIME_NO_CACHE", "1"),
            fixed("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            fixed("TZ", ZONE),
        ]
    }

    /// From now on the clock is ahead of the true time by this much, or behind it.
    #[track_caller]
    pub fn set_ahead(&self, ahead: SignedDuration) {
        // moved into its place whole: the program reads it at any time
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{:+.3}\n", ahead.as_secs_f64())).expect("the clock can be written");
        std::fs::rename(&new, &self.file).expect("the clock can be set");
    }

    /// It is `time` now, and time goes on.
    #[track_caller]
    pub fn set(&self, time: Timestamp) {
        self.set_ahead(time.duration_since(Timestamp::now()));
    }
}
