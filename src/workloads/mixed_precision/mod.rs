//! Mixed-precision training: half-width storage, full-width sums and master weights.
//!
//! A [`Trainer`] keeps the *master* weights in full width and hands a [`Network`] a copy in the
//! storage type, f16 or bf16. Everything that is large and read often is stored in half: weight
//! copies, activations, activation gradients. Everything that adds up is summed in f32: products,
//! bias gradients, the loss, the gradient of the weights, and the update of the master (Micikevicius
//! et al.: Mixed Precision Training, ICLR 2018). [`POLICY`] says it for each operation.
//!
//! f16 has no value between 0 and 6e-8: small gradients vanish in it. So the loss is multiplied by a
//! scale before the backward pass and the gradient divided by it after; [`LossScale`] grows the
//! scale as far as it goes and, when something overflows, halves it and skips the step, by the rules
//! of PyTorch's GradScaler.
//!
//! A batch comes in shards, each with a gradient of its own; they are reduced to their mean. How
//! many shards is part of the input, never the number of threads, so the trained weights are the
//! same bits on any pool.

mod layers;
mod optimizer;
mod scale;
mod spares;
mod trainer;

pub use layers::*;
pub use optimizer::{Moments, Optimizer};
pub use scale::LossScale;
pub use spares::{Borrowed, Spares};
pub use trainer::{Network, StepOutcome, Trainer};
