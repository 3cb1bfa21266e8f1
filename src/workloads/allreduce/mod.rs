//! Allreduce: every participant ends with the same reduction of what all of them brought.

mod combine;
mod cost;
mod failure;
mod fused;
mod plan;
mod rows;

pub use cost::{Costs, cost};
pub use failure::Failure;
pub use fused::{all_gather, all_reduce, reduce_scatter};
pub use plan::{Algorithm, Op, Traffic, chunk, kept_chunk};
