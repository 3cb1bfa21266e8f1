//! FlashAttention: exact attention whose scores are never stored.

mod backward;
mod forward;
mod heads;

pub use backward::backward;
pub use forward::{decode, forward};
pub use heads::{Heads, HeadsMut, Mask};
