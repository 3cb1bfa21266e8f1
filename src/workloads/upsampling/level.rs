//! Which vector instructions the kernels may use: asked once of the processor, forced by tests.

use std::sync::OnceLock;

/// From the least to the most; each has a kernel of its own for the passes that cost the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor has.
    Portable,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VBMI (bytes picked across a whole vector).
    Avx512,
}

impl Level {
    /// The best this processor can do.
    pub fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(Level::detect)
    }

    #[cfg(target_arch = "x86_64")]
    fn detect() -> Level {
        use crate::linear::Level as Instructions;
        match Instructions::best() {
            Instructions::Avx512 | Instructions::Avx512Bf16 if is_x86_feature_detected!("avx512vbmi") => Level::Avx512,
            Instructions::Portable => Level::Portable,
            _ => Level::Avx2,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Level {
        Level::Portable
    }

    /// Every level this processor has, for tests.
    #[cfg(test)]
    pub(super) fn available() -> impl Iterator<Item = Level> {
        [Level::Portable, Level::Avx2, Level::Avx512]
            .into_iter()
            .filter(|level| *level <= Level::best())
    }
}
