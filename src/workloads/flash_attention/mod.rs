//! FlashAttention: exact attention whose scores are never stored.
