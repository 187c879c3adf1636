//! Random numbers for request ids and the like, not for secrets.

use std::cell::RefCell;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

/// Random numbers, fetched from the system in blocks: a system call for each would cost more than the id.
pub(super) struct RandomNumbers {
    system: SystemRandom,
    block: RefCell<([u8; 1024], usize)>,
}

impl RandomNumbers {
    pub(super) fn new() -> Self {
        Self { system: SystemRandom::new(), block: RefCell::new(([0; 1024], 1024)) }
    }

    pub(super) fn next(&self) -> [u8; 16] {
        let mut block = self.block.borrow_mut();
        let (bytes, used) = &mut *block;
        if *used == bytes.len() {
            *used = 0;
            if self.system.fill(bytes).is_err() {
                tracing::error!("the system has no random numbers; request ids will repeat");
            }
        }
        let mut number = [0; 16];
        number.copy_from_slice(&bytes[*used..*used + 16]);
        *used += 16;
        number
    }
}
