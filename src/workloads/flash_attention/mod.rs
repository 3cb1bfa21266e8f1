//! FlashAttention: exact attention whose scores are never stored.

mod forward;
mod backward;
mod heads;

pub use backward::backward;
pub use forward::{decode, forward};
pub use heads::{Heads, HeadsMut, Mask};
