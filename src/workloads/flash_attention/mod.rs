//! FlashAttention: exact attention whose scores are never stored.

mod backward;
mod forward;
mod heads;
mod kernels;
mod lanes;
mod plain;
mod problem;
#[cfg(test)]
mod samples;

pub use backward::backward;
pub use forward::{decode, forward};
pub use heads::{Heads, HeadsMut, Mask};
