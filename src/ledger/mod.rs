//! What a process says of itself: a shared-memory slot per thread. (signatures; being built)

mod heap;
mod reader;
pub mod tasks;

pub use heap::Heap;
pub use reader::{Reader, ReaderError};

use std::io;

use crate::model::Nanos;

/// Makes this process' ledger: a sealed memory file that any reader finds among our descriptors.
/// Called once, early. Without it every write below is a cheap no-op.
pub fn install(slots: usize) -> io::Result<()> {
    let _ = slots;
    unimplemented!()
}

/// A number for a name, the same for the life of the process. 0 when the table is full or there is
/// no ledger: the reader then shows no name.
pub fn intern(name: &str) -> u32 {
    let _ = name;
    unimplemented!()
}

/// Now on `CLOCK_MONOTONIC`: the clock that task times are told in.
pub fn now() -> Nanos {
    crate::kernel::clock::monotonic()
}
