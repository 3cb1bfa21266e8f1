//! Which instructions the kernels may use: found once, and forced by tests.

use std::sync::atomic::{AtomicU8, Ordering};

/// A set of instructions; each holds those before it. Having one is proof that the machine has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the compiler makes for any machine.
    Portable = 1,
    /// AVX2, FMA and F16C.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512 = 3,
    /// AVX-512 with products of bf16 pairs.
    Avx512Bf16 = 4,
}

impl Level {
    /// The best this machine has.
    #[inline]
    pub fn best() -> Level {
        static FOUND: AtomicU8 = AtomicU8::new(0);
        // Relaxed: whoever races here finds the same.
        match FOUND.load(Ordering::Relaxed) {
            1 => Level::Portable,
            2 => Level::Avx2,
            3 => Level::Avx512,
            4 => Level::Avx512Bf16,
            _ => {
                let found = Level::find();
                FOUND.store(found as u8, Ordering::Relaxed);
                found
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[cold]
    fn find() -> Level {
        let avx2 =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx512 && is_x86_feature_detected!("avx512bf16") {
            Level::Avx512Bf16
        } else if avx512 {
            Level::Avx512
        } else if avx2 {
            Level::Avx2
        } else {
            Level::Portable
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[cold]
    fn find() -> Level {
        Level::Portable
    }

    /// All that this machine has, from the plainest to the best.
    #[cfg(test)]
    pub fn all() -> Vec<Level> {
        [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Bf16]
            .into_iter()
            .filter(|level| *level <= Level::best())
            .collect()
    }
}
