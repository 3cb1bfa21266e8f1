//! Matrices and vectors for the numeric workloads: storage types, conversions, products.
//!
//! Values are stored as f64, f32, f16 or bf16 ([`Element`]) and summed in f64 or f32
//! ([`Element::Sum`]). Every sum has one order, whatever pool lends its threads, so results are the
//! same bits however the work was forked. They may differ in the last bits between machines.
//!
//! [`multiply`] is for matrices: `product` cuts it into pieces for threads, `blocks` into blocks for
//! caches, and a kernel (`portable`, `avx2`, `avx512`) computes tiles in registers. [`multiply_few`]
//! is for a few rows against many weights, where memory is what costs. `convert` and `exp` work on
//! slices. Each has a form for every [`level`] of instructions, chosen when it runs; tests force
//! each level that the machine has and hold it against a definition in f64.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_pack;
mod blocks;
mod convert;
mod element;
mod exp;
mod few;
#[cfg(target_arch = "x86_64")]
mod few_x86;
mod level;
mod portable;
mod product;

pub use element::{Element, Real, bf16, f16};
#[cfg(target_arch = "x86_64")]
pub use exp::{exp_256, exp_512};
pub use exp::{exp_all, exp_minus};
pub use few::multiply_few;
pub(crate) use level::Level;
pub use product::{Matrix, MatrixMut, multiply, product_scratch_bytes};
