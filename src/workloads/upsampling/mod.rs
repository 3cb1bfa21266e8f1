//! Upsampling: images made larger, by PyTorch's rules.
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
mod tests;
mod tiles;
mod transposed;
mod unpool;
mod workload;

pub use axis::Mode;
pub use images::Shape;
pub use interpolation::{Interpolation, LARGEST_SIDE, Resize, Target, resized};
pub use level::Level;
pub use rows::Pixel;
pub use shuffle::{pixel_shuffle_into, pixel_shuffled, pixel_unshuffle_into, pixel_unshuffled};
pub use transposed::{KernelShape, TransposedConvolution, Transposition, transposed};
pub use unpool::{Pooling, StrayIndex, max_unpool_into, max_unpool_into_zeros, unpooled};
pub use workload::Upsampling;
