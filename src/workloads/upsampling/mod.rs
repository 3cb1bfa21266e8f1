//! Upsampling: images made larger, with the results of PyTorch's operations of the same names.
//!
//! Images are NCHW: image after image, channel after channel, row after row ([`Shape`]), of f32 or u8.
//! Sides are in pixels; values have no unit.
//!
//! - **Interpolation** ([`Interpolation`]): nearest, nearest-exact, bilinear and bicubic (Keys 1981, a
//!   = -0.75) to a size or by a factor, corners aligned or not, and filtered when shrinking
//!   (`antialias`, a = -0.5). `axis.rs` has the formulas and the u8 rounding rule, `interpolation.rs`
//!   the order of the work, `rows.rs` the passes over rows with their kernels (`avx2.rs`, `avx512.rs`).
//!   Results in f32 are within `side` 2^-19 of the definition in f64, as a share of the greatest value
//!   (the coordinates are PyTorch's, in f32); in u8 they are PyTorch's to the bit.
//! - **Pixel shuffle** and its inverse ([`pixel_shuffle_into`], [`pixel_unshuffle_into`]): Shi et al.
//!   2016. Exact.
//! - **Max-unpooling** ([`max_unpool_into`]): Zeiler and Fergus 2014. Exact; of values for one place
//!   the last stays.
//! - **Transposed convolution** ([`TransposedConvolution`]) with stride, padding, output padding,
//!   dilation, groups and bias: the adjoint of convolution. A sum of `n` products is within (n + 2)
//!   2^-24 of the sum of their sizes.
//!
//! Results are the same bits however the work was forked. Between levels of vector instructions they
//! differ by rounding, since fused multiply-add rounds once. NaN and infinity go where the formula
//! takes them, also through a weight of 0. Every operation has a form that writes into the caller's
//! memory: for large outputs the first touch of new memory costs more than the work.
//!
//! `case.rs` is the JSON door with PyTorch's parameters and refusals, `definition.rs` the oracle,
//! `workload.rs` the catalogue's entry, `pictures.rs` what the inputs show.
//!
//! Two things PyTorch does that we don't: with `antialias` it copies the first pixel everywhere when
//! the width is 1 and kept (a slip of strides), and some of its convolution kernels give outputs
//! without pixels where others refuse them; we always refuse. One thing it does that we follow: nearest
//! rounds coordinates differently when the output's height and width are 128 or less together.

mod agreement;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod axis;
mod case;
mod definition;
mod fresh;
mod images;
mod interpolation;
mod level;
mod pictures;
mod rows;
mod shuffle;
mod split;
mod tiles;
mod transposed;
mod unpool;
mod workload;

pub use axis::Mode;
pub use images::Shape;
pub use interpolation::{Interpolation, LARGEST_SIDE, Resize, Target, resized};
pub use level::Level;
pub use rows::Pixel;
pub use shuffle::{
    pixel_shuffle, pixel_shuffle_into, pixel_shuffled, pixel_unshuffle, pixel_unshuffle_into, pixel_unshuffled,
};
pub use transposed::{KernelShape, TransposedConvolution, Transposition, transposed};
pub use unpool::{Pooling, StrayIndex, max_unpool, max_unpool_into, max_unpool_into_zeros, unpooled};
pub use workload::Upsampling;
