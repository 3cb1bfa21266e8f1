//! FlashAttention: exact attention whose scores are never stored.
//!
//! For every query row, attention is softmax(scale q K') V over the keys that the row sees. The
//! standard method stores all scores, length x length for each head. Here keys and values come in
//! tiles of 256; a block of rows meets a tile while it is in the processor's cache, and each row keeps
//! a running maximum, a running sum and a running output (Dao, Fu, Ermon, Rudra, Re 2022; Dao 2023).
//! Extra memory is O(length): see `peak_extra_bytes` in a run's report.
//!
//! Shapes: queries `[batch][heads][queries][head_dim]`, keys and values `[batch][key heads][keys]
//! [head_dim]`, read in place by strides ([`Heads`]). Fewer key heads than query heads are shared by
//! groups of them. Numbers are stored as f32, f64, f16 or bf16 and added in f32, with f64 in f64;
//! logarithms are natural.
//!
//! Three operations: [`forward`], [`backward`], which computes the weights again from the saved
//! logarithms, and [`decode`], which splits the keys of few queries over a pool.
//!
//! **What a row is.** Its result depends on its query and on the keys that it sees, in their order,
//! and on nothing else, bit for bit: not on the rows computed with it, nor on the pool, nor, with
//! [`Mask::Tree`], on the drafts that stand between its keys. `forward` says in which order sums are
//! taken. The bits do depend on the instruction set: AVX-512, AVX2 or neither.
//!
//! **What is not finite.** A row that sees no key gives zeros and minus infinity. Keys and values
//! that a row does not see have no part in its result, whatever they are. NaN and infinities that
//! it sees go the way of the definition: a score of +infinity or NaN makes the row NaN, and so do
//! scores that are all -infinity; weight 0 times an infinite value is NaN.

mod backward;
mod forward;
mod heads;
mod kernels;
mod lanes;
mod plain;
mod problem;
#[cfg(test)]
mod samples;
mod workload;

pub use backward::backward;
pub use forward::{decode, forward};
pub use heads::{Heads, HeadsMut, Mask};
pub use workload::FlashAttention;
