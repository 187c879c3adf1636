//! Random numbers for tests.

/// Small deterministic random numbers (xorshift64*), so that a failure can be repeated from its seed.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// One of the numbers below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % end
    }
}
