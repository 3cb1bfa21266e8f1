//! The register tile of the transposed convolution, written once for both vector lengths.

/// Makes `convolve` for a vector type: `$lanes` floats, tiles of 8, 4 and 1 output channels by as
/// many vectors of pixels as registers hold.
macro_rules! convolve {
    ($features:literal, $vector:ty, $lanes:literal, $load:path, $store:path, $zero:path, $set:path, $fused:path,
     $eight:literal, $four:literal, $one:literal) => {
        /// For each output channel of the tile the sum over all steps of weight times packed input,
        /// for `count` columns and up to a tile's width more.
        #[target_feature(enable = $features)]
        pub(super) fn convolve(
            lanes: usize,
            offsets: &[u32],
            weights: &[f32],
            packed: &[f32],
            count: usize,
            into: &mut [f32],
            row: usize,
        ) {
            let mut at = 0;
            while at < count {
                let left = (count - at).div_ceil($lanes);
                let (packed, into) = (&packed[at..], &mut into[at..]);
                at += $lanes
                    * match lanes {
                        8 if left >= $eight => tile::<8, $eight>(offsets, weights, packed, into, row),
                        8 if left >= 2 => tile::<8, 2>(offsets, weights, packed, into, row),
                        8 => tile::<8, 1>(offsets, weights, packed, into, row),
                        4 if left >= $four => tile::<4, $four>(offsets, weights, packed, into, row),
                        4 if left >= 2 => tile::<4, 2>(offsets, weights, packed, into, row),
                        4 => tile::<4, 1>(offsets, weights, packed, into, row),
                        _ if left >= $one => tile::<1, $one>(offsets, weights, packed, into, row),
                        _ if left >= 2 => tile::<1, 2>(offsets, weights, packed, into, row),
                        _ => tile::<1, 1>(offsets, weights, packed, into, row),
                    };
            }
        }

        /// `T` channels by `V` vectors; gives back `V`.
        #[target_feature(enable = $features)]
        fn tile<const T: usize, const V: usize>(
            offsets: &[u32],
            weights: &[f32],
            packed: &[f32],
            into: &mut [f32],
            row: usize,
        ) -> usize {
            let mut sums: [[$vector; V]; T] = [[$zero(); V]; T];
            for (offset, weights) in offsets.iter().zip(weights.as_chunks::<T>().0) {
                let source = &packed[*offset as usize..][..V * $lanes];
                let mut values = [$zero(); V];
                for (v, value) in values.iter_mut().enumerate() {
                    let part = &source[v * $lanes..][..$lanes];
                    // SAFETY: `part` is one vector long.
                    *value = unsafe { $load(part.as_ptr()) };
                }
                for t in 0..T {
                    let weight = $set(weights[t]);
                    for v in 0..V {
                        sums[t][v] = $fused(values[v], weight, sums[t][v]);
                    }
                }
            }
            for (t, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    let part = &mut into[t * row + v * $lanes..][..$lanes];
                    // SAFETY: `part` is one vector long.
                    unsafe { $store(part.as_mut_ptr(), *sum) };
                }
            }
            V
        }
    };
}

pub(super) use convolve;
