//! FlashAttention: exact attention whose scores are never stored.

mod forward;
mod backward;
mod heads;
mod kernels;
mod lanes;
mod plain;
mod problem;

pub use backward::backward;
pub use forward::{decode, forward};
pub use heads::{Heads, HeadsMut, Mask};
