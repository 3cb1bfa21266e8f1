//! The atomics that the slot protocol is written in: std's here, loom's in `tests/loom_ledger.rs`.
//!
//! `slot.rs` says `super::sync`, so the model checker runs the very file that ships.

pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicU64, Ordering, fence};
