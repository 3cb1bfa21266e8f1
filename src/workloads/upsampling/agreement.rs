//! The operations against their definitions, against PyTorch's own answers, and against each other.

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::axis::Mode;
    use super::super::definition::{self, Definition};
    use super::super::images::Shape;
    use super::super::interpolation::{Interpolation, Resize, Target, resized};
    use super::super::level::Level;
    use super::super::rows::Pixel;
    use super::super::shuffle::{pixel_shuffled, pixel_unshuffle_into, pixel_unshuffled, shuffle_with};
    use super::super::transposed::{KernelShape, TransposedConvolution, Transposition, transposed};
    use super::super::unpool::{max_unpool_into, max_unpool_into_zeros};
    use super::super::workload::Upsampling;
    use crate::random::Random;
    use crate::tests::{OnThreads, solve};
    use crate::{Sequential, Workload};

    // ---- PyTorch's answers -----------------------------------------------------------------

    /// Cases with PyTorch's answers; `make.py` beside them made both.
    const GOLDEN: [(&str, &str); 23] = {
        macro_rules! golden {
            ($($name:literal),*) => {
                [$(($name, include_str!(concat!("../../../tests/data/upsampling/", $name, ".json")))),*]
            };
        }
        golden!(
            "nearest",
            "nearest_kept_and_doubled",
            "nearest_large",
            "nearest_exact",
            "nearest_exact_ties",
            "bilinear",
            "bilinear_corners",
            "bilinear_factor",
            "bilinear_recomputed",
            "bilinear_antialias",
            "bicubic",
            "bicubic_corners",
            "bicubic_factor",
            "bicubic_antialias",
            "bytes_bilinear",
            "bytes_bicubic",
            "bytes_bicubic_antialias",
            "bytes_nearest",
            "pixel_shuffle",
            "pixel_unshuffle",
            "max_unpool2d",
            "conv_transpose2d",
            "conv_transpose2d_all"
        )
    };

    /// The greatest difference of two nested arrays of one shape.
    fn distance(a: &Value, b: &Value) -> f64 {
        match (a, b) {
            (Value::Array(a), Value::Array(b)) => {
                assert_eq!(a.len(), b.len(), "the shapes differ");
                a.iter().zip(b).map(|(a, b)| distance(a, b)).fold(0.0, f64::max)
            }
            (a, b) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs(),
        }
    }

    #[test]
    fn pytorch_gives_the_same() {
        for (name, text) in GOLDEN {
            let golden: Value = serde_json::from_str(text).unwrap();
            for join in [&Sequential as &dyn crate::Join, &OnThreads(2)] {
                let answer = Upsampling.solve(&golden["case"], join).unwrap();
                let distance = distance(&answer["output"], &golden["output"]);
                // What only moves pixels, and all of u8, is the same to the bit.
                let exact = ["nearest", "bytes", "pixel", "max"]
                    .iter()
                    .any(|moved| name.starts_with(moved));
                assert!(
                    distance <= if exact { 0.0 } else { 1e-5 },
                    "{name} differs by {distance}"
                );
            }
        }
    }

    // ---- Interpolation ---------------------------------------------------------------------

    fn floats(count: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, 0);
        (0..count)
            .map(|_| (random.below(20_001) as f32 - 10_000.0) / 5000.0)
            .collect()
    }

    fn bytes(count: usize, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed, 0);
        (0..count).map(|_| random.below(256) as u8).collect()
    }

    fn resize(mode: Mode, target: Target) -> Resize {
        Resize {
            mode,
            target,
            align_corners: false,
            antialias: false,
        }
    }

    const MODES: [Mode; 4] = [Mode::Nearest, Mode::NearestExact, Mode::Bilinear, Mode::Bicubic];

    /// Every level and a pool of two against the definition, pixel by pixel, f32 and u8.
    fn check_interpolation(source: (usize, usize), resize: &Resize, seed: u64) {
        let output = resized(source, resize).unwrap();
        let planes = 2;
        let nearest = matches!(resize.mode, Mode::Nearest | Mode::NearestExact);
        let real = floats(planes * source.0 * source.1, seed);
        let byte = bytes(planes * source.0 * source.1, seed);
        let of_real = Definition::new(source, output, resize, false);
        let of_bytes = Definition::new(source, output, resize, true);
        let allowed = definition::allowance(of_real.side(), 2.0);
        for level in Level::available() {
            let plan = Interpolation::<f32>::with_level(source, resize, level).unwrap();
            let made = plan.apply(&Sequential, &real);
            let forked = plan.apply(&OnThreads(2), &real);
            assert!(same_bits(&made, &forked), "{level:?} {resize:?} forked");
            let whole = Interpolation::<u8>::with_level(source, resize, level).unwrap();
            let made_bytes = whole.apply(&OnThreads(3), &byte);
            for at in 0..made.len() {
                let (plane, y, x) = (at / (output.0 * output.1), at / output.1 % output.0, at % output.1);
                let from = plane * source.0 * source.1..(plane + 1) * source.0 * source.1;
                let (real, byte) = (&real[from.clone()], &byte[from]);
                let place = || format!("{level:?} {source:?} {resize:?} at {plane} {y} {x}");
                if nearest {
                    assert!(of_real.is_near(real, y, x, made[at]), "{}", place());
                    assert!(of_bytes.is_near(byte, y, x, made_bytes[at]), "{}", place());
                } else {
                    let expected = of_real.real(real, y, x);
                    let got = f64::from(made[at]);
                    assert!((got - expected).abs() <= allowed, "{}: {got} {expected}", place());
                    assert_eq!(made_bytes[at], of_bytes.byte(byte, y, x), "u8 {}", place());
                }
            }
        }
    }

    fn same_bits(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
    }

    #[test]
    fn every_mode_is_its_definition_at_the_sizes_where_kernels_change() {
        let sizes = [
            ((1, 1), (1, 1)),
            ((1, 1), (5, 70)),
            ((3, 1), (1, 3)),
            ((2, 7), (4, 14)),
            ((5, 16), (10, 32)),
            ((4, 17), (7, 50)),
            ((6, 33), (3, 16)),
            ((4, 64), (5, 129)),
            ((3, 65), (9, 200)),
            ((9, 130), (4, 31)),
            ((3, 40), (3, 80)),
            ((3, 40), (6, 40)),
        ];
        for (number, (source, (height, width))) in sizes.into_iter().enumerate() {
            for mode in MODES {
                check_interpolation(source, &resize(mode, Target::Size(height, width)), number as u64);
            }
            for mode in [Mode::Bilinear, Mode::Bicubic] {
                for (align_corners, antialias) in [(true, false), (false, true), (true, true)] {
                    let resize = Resize {
                        align_corners,
                        antialias,
                        ..resize(mode, Target::Size(height, width))
                    };
                    check_interpolation(source, &resize, number as u64);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_interpolation_is_its_definition(
            source in (1usize..20, 1usize..90),
            factors in (0.3f64..4.0, 0.3f64..4.0),
            mode in 0usize..4,
            (align_corners, antialias, recomputed) in any::<(bool, bool, bool)>(),
            seed in any::<u64>(),
        ) {
            let (height, width) = (factors.0.max(1.0 / source.0 as f64 + 1e-9), factors.1.max(1.0 / source.1 as f64 + 1e-9));
            let smooth = mode >= 2;
            let resize = Resize {
                mode: MODES[mode],
                target: Target::Factor { height, width, recomputed },
                align_corners: align_corners && smooth,
                antialias: antialias && smooth,
            };
            check_interpolation(source, &resize, seed);
        }

        #[test]
        fn constants_stay_constant(value in 0u8..=255, source in (1usize..9, 1usize..40), size in (1usize..30, 1usize..90)) {
            for mode in MODES {
                let resize = resize(mode, Target::Size(size.0, size.1));
                let input = vec![value; source.0 * source.1];
                let made = Interpolation::<u8>::new(source, &resize).unwrap().apply(&Sequential, &input);
                prop_assert!(made.iter().all(|made| *made == value), "{mode:?}: {value} {made:?}");
            }
        }
    }

    #[test]
    fn large_outputs_that_bypass_the_cache_are_the_same() {
        // Above the size from which stores stream, with rows that do not begin with a line.
        let source = (1030, 1601);
        for mode in MODES {
            let resize = resize(mode, Target::Size(2061, 3203));
            let input = floats(source.0 * source.1, 1);
            let best = Interpolation::<f32>::new(source, &resize).unwrap();
            let made = best.apply(&OnThreads(2), &input);
            let plain = Interpolation::<f32>::with_level(source, &resize, Level::Portable).unwrap();
            let expected = plain.apply(&OnThreads(2), &input);
            let far = made
                .iter()
                .zip(&expected)
                .position(|(made, expected)| (made - expected).abs() > 1e-5);
            assert_eq!(far, None, "{mode:?}");
        }
    }

    #[test]
    fn bicubic_at_known_points() {
        // Half way between pixels Keys' kernel with a = -0.75 weighs -3, 19, 19, -3 of 32.
        let resize = resize(Mode::Bicubic, Target::Size(1, 3));
        let input = [0.0, 32.0, 64.0, 0.0, 0.0, 0.0];
        let made = Interpolation::<f32>::new((1, 6), &resize)
            .unwrap()
            .apply(&Sequential, &input);
        assert_eq!(
            made,
            [(19 * 32 - 3 * 64) as f32 / 32.0, (19 * 64 - 3 * 32) as f32 / 32.0, 0.0]
        );
    }

    #[test]
    fn not_a_number_spreads_only_to_the_pixels_that_read_it() {
        let resize = resize(Mode::Bilinear, Target::Size(1, 8));
        let input = [0.0, f32::NAN, 0.0, 4.0];
        for level in Level::available() {
            let plan = Interpolation::<f32>::with_level((1, 4), &resize, level).unwrap();
            let made = plan.apply(&Sequential, &input);
            let nan: Vec<bool> = made.iter().map(|value| value.is_nan()).collect();
            // The first output has a neighbour too, of weight 0, and 0 times NaN is NaN: as in PyTorch.
            assert_eq!(nan, [true, true, true, true, true, false, false, false], "{made:?}");
            assert_eq!(made[5..], [1.0, 3.0, 4.0]);
        }
    }

    #[test]
    fn values_out_of_range_are_clamped_between_the_passes_too() {
        // Bicubic overshoots at an edge; u8 cannot hold that, not even between rows and columns.
        let resize = resize(Mode::Bicubic, Target::Size(16, 16));
        let input: Vec<u8> = (0..64)
            .map(|at| if at % 8 < 4 && at / 8 < 4 { 255 } else { 0 })
            .collect();
        let made = Interpolation::<u8>::new((8, 8), &resize)
            .unwrap()
            .apply(&Sequential, &input);
        let definition = Definition::new((8, 8), (16, 16), &resize, true);
        for (at, made) in made.iter().enumerate() {
            assert_eq!(*made, definition.byte(&input, at / 16, at % 16), "{at}");
        }
    }

    // ---- Pixel shuffle ---------------------------------------------------------------------

    fn check_shuffle<P: Pixel>(input: &[P], shape: Shape, factor: usize) {
        let made = pixel_shuffled(shape, factor).unwrap();
        let expected: Vec<P> = (0..input.len())
            .map(|at| input[definition::shuffled_from(shape, factor, made, at)])
            .collect();
        for level in Level::available() {
            let mut output = vec![P::default(); input.len()];
            shuffle_with(level, &OnThreads(2), input, shape, factor, &mut output);
            assert!(output == expected, "{level:?} {shape:?} {factor}");
        }
        assert_eq!(pixel_unshuffled(made, factor), Ok(shape));
        let mut back = vec![P::default(); input.len()];
        pixel_unshuffle_into(&OnThreads(2), &expected, made, factor, &mut back);
        assert!(back == input, "{shape:?} {factor} and back");
    }

    #[test]
    fn pixels_are_shuffled_by_definition_and_back() {
        for factor in 1..=5 {
            for (height, width) in [(1, 1), (2, 7), (3, 16), (2, 33), (0, 4), (4, 0)] {
                let shape = Shape::new(2, 3 * factor * factor, height, width);
                check_shuffle(&floats(shape.count(), 3), shape, factor);
                check_shuffle(&bytes(shape.count(), 3), shape, factor);
            }
        }
    }

    #[test]
    fn a_large_shuffle_that_bypasses_the_cache_is_the_same() {
        for width in [1000, 1003] {
            let shape = Shape::new(1, 8, 800, width);
            check_shuffle(&floats(shape.count(), 4), shape, 2);
        }
    }

    // ---- Max-unpooling ---------------------------------------------------------------------

    #[test]
    fn values_return_to_their_places() {
        for (planes, taken, plane) in [(1, 1, 1), (3, 4, 16), (16, 900, 3600), (5, 7, 9)] {
            let input = floats(planes * taken, 5);
            let mut random = Random::new(5, 5);
            let indices: Vec<i64> = input.iter().map(|_| random.below(plane) as i64).collect();
            let expected = definition::unpooled(&input, &indices, taken, plane as usize).unwrap();
            let mut output = vec![f32::NAN; expected.len()];
            max_unpool_into(&OnThreads(2), &input, &indices, taken, &mut output).unwrap();
            assert_eq!(output, expected);
            let mut output = vec![0.0; expected.len()];
            max_unpool_into_zeros(&Sequential, &input, &indices, taken, &mut output).unwrap();
            assert_eq!(output, expected);
        }
    }

    #[test]
    fn the_first_stray_index_is_told_whatever_thread_finds_it() {
        let (planes, taken, plane) = (16, 900, 3600);
        let input = floats(planes * taken, 6);
        for (strays, first) in [
            (&[(7, 3600)][..], 7),
            (&[(14_000, -1), (901, i64::MAX)], 901),
            (&[(14_000, -1), (13_000, 4000)], 13_000),
        ] {
            let mut indices = vec![0; input.len()];
            for (at, index) in strays {
                indices[*at] = *index;
            }
            for join in [&Sequential as &dyn crate::Join, &OnThreads(4)] {
                let mut output = vec![0.0; planes * plane];
                let stray = max_unpool_into(join, &input, &indices, taken, &mut output).unwrap_err();
                assert_eq!((stray.at, stray.index, stray.plane), (first, indices[first], plane));
            }
        }
    }

    // ---- Transposed convolution ------------------------------------------------------------

    /// The convolution that the transposed one is the transpose of, from `large` to `small`.
    fn convolve(
        (large, values): (Shape, &[f32]),
        (kernel, weight): (KernelShape, &[f32]),
        how: &Transposition,
        small: Shape,
    ) -> Vec<f64> {
        let mut output = vec![0.0; small.count()];
        let channels = small.channels / how.groups;
        for image in 0..small.images {
            for to in 0..small.channels {
                for y in 0..small.height {
                    for x in 0..small.width {
                        let mut sum = 0.0;
                        for from in 0..kernel.outputs {
                            for ky in 0..kernel.height {
                                for kx in 0..kernel.width {
                                    let v = (y * how.stride[0] + ky * how.dilation[0]).checked_sub(how.padding[0]);
                                    let u = (x * how.stride[1] + kx * how.dilation[1]).checked_sub(how.padding[1]);
                                    let (Some(v), Some(u)) = (v, u) else { continue };
                                    if v >= large.height || u >= large.width {
                                        continue;
                                    }
                                    let channel = to / channels * kernel.outputs + from;
                                    let at = ((image * large.channels + channel) * large.height + v) * large.width + u;
                                    let place = ((to * kernel.outputs + from) * kernel.height + ky) * kernel.width + kx;
                                    sum += f64::from(values[at]) * f64::from(weight[place]);
                                }
                            }
                        }
                        output[((image * small.channels + to) * small.height + y) * small.width + x] = sum;
                    }
                }
            }
        }
        output
    }

    /// Every level against the definition, and <A x, y> = <x, A' y>.
    fn check_transposed(input: Shape, kernel: KernelShape, how: &Transposition, seed: u64) {
        let output = transposed(input, kernel, how).unwrap();
        let values = floats(input.count(), seed);
        let weight = floats(kernel.count(), seed + 1);
        let bias = floats(output.channels, seed + 2);
        for level in Level::available() {
            let plan = TransposedConvolution::with_level(input, kernel, &weight, Some(&bias), how, level).unwrap();
            let mut made = vec![f32::NAN; output.count()];
            plan.apply_into(&Sequential, &values, &mut made);
            assert!(
                same_bits(&made, &plan.apply(&OnThreads(2), &values)),
                "{level:?} forked"
            );
            for (at, made) in made.iter().enumerate() {
                let (x, rest) = (at % output.width, at / output.width);
                let (y, rest) = (rest % output.height, rest / output.height);
                let (channel, image) = (rest % output.channels, rest / output.channels);
                let place = [image, channel, y, x];
                let (sum, size, terms) = definition::convolved((input, &values), (kernel, &weight), how, place);
                let bias = f64::from(bias[channel]);
                let allowed = (size + bias.abs()) * (terms + 2) as f64 * 2.0f64.powi(-24);
                let far = (f64::from(*made) - sum - bias).abs();
                assert!(
                    far <= allowed,
                    "{level:?} {input:?} {kernel:?} {how:?} at {place:?}: {far:e}"
                );
            }
        }
        let made = TransposedConvolution::new(input, kernel, &weight, None, how)
            .unwrap()
            .apply(&Sequential, &values);
        let other = floats(output.count(), seed + 3);
        let back = convolve((output, &other), (kernel, &weight), how, input);
        let across: f64 = made
            .iter()
            .zip(&other)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        let along: f64 = values.iter().zip(&back).map(|(a, b)| f64::from(*a) * b).sum();
        let size: f64 = made.iter().zip(&other).map(|(a, b)| f64::from((a * b).abs())).sum();
        assert!((across - along).abs() <= 1e-5 * size.max(1.0), "{across} {along}");
    }

    #[test]
    fn transposed_convolutions_are_their_definition_and_adjoint() {
        let plain = Transposition::default();
        let cases = [
            ((1, 1, 1, 1), (1, 1, 1), plain),
            (
                (1, 1, 1, 1),
                (3, 5, 4),
                Transposition {
                    stride: [7, 3],
                    ..plain
                },
            ),
            (
                (2, 3, 4, 5),
                (2, 4, 4),
                Transposition {
                    stride: [2; 2],
                    padding: [1; 2],
                    ..plain
                },
            ),
            ((1, 2, 3, 120), (9, 3, 3), plain),
            (
                (1, 4, 5, 50),
                (17, 2, 5),
                Transposition {
                    stride: [3, 1],
                    groups: 2,
                    ..plain
                },
            ),
            (
                (1, 6, 4, 7),
                (4, 3, 2),
                Transposition {
                    stride: [2, 3],
                    padding: [2, 1],
                    output_padding: [1, 2],
                    dilation: [3, 2],
                    groups: 3,
                },
            ),
            (
                (1, 1, 3, 3),
                (1, 1, 1),
                Transposition {
                    stride: [4; 2],
                    ..plain
                },
            ),
            (
                (1, 2, 2, 2),
                (5, 3, 3),
                Transposition {
                    stride: [3; 2],
                    padding: [2; 2],
                    ..plain
                },
            ),
            (
                (1, 1, 2, 300),
                (1, 1, 7),
                Transposition {
                    stride: [1, 2],
                    padding: [0, 3],
                    ..plain
                },
            ),
            (
                (1, 300, 3, 60),
                (2, 3, 3),
                Transposition {
                    stride: [2; 2],
                    ..plain
                },
            ),
        ];
        for (number, ((images, channels, height, width), (outputs, kh, kw), how)) in cases.into_iter().enumerate() {
            let kernel = KernelShape {
                inputs: channels,
                outputs,
                height: kh,
                width: kw,
            };
            check_transposed(Shape::new(images, channels, height, width), kernel, &how, number as u64);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_transposed_convolution_is_its_definition_and_adjoint(
            (images, channels, outputs, groups) in (1usize..3, 1usize..4, 1usize..10, 1usize..3),
            (height, width) in (1usize..7, 1usize..40),
            kernel in (1usize..5, 1usize..5),
            stride in (1usize..4, 1usize..4),
            padding in (0usize..3, 0usize..3),
            output_padding in (0usize..2, 0usize..2),
            dilation in (1usize..3, 1usize..3),
            seed in 0u64..1000,
        ) {
            let how = Transposition {
                stride: [stride.0, stride.1],
                padding: [padding.0, padding.1],
                output_padding: [output_padding.0, output_padding.1],
                dilation: [dilation.0, dilation.1],
                groups,
            };
            let input = Shape::new(images, channels * groups, height, width);
            let kernel = KernelShape { inputs: channels * groups, outputs, height: kernel.0, width: kernel.1 };
            if transposed(input, kernel, &how).is_ok() {
                check_transposed(input, kernel, &how, seed);
            }
        }
    }

    // ---- The door --------------------------------------------------------------------------

    fn refused(case: &Value) -> String {
        solve(&Upsampling, &case.to_string()).expect_err("refused")
    }

    #[test]
    fn what_pytorch_refuses_is_refused_by_name() {
        let image = json!([[[[1.0, 2.0], [3.0, 4.0]]]]);
        let interpolate = |params: Value| json!({"op": "interpolate", "params": params, "input": image});
        for (params, expected) in [
            (json!({}), "size: is missing, as is `scale_factor`"),
            (
                json!({"size": 4, "scale_factor": 2}),
                "scale_factor: is given beside `size`",
            ),
            (json!({"size": 0}), "size: gives an output of 0 x 0"),
            (json!({"size": [4, -1]}), "size: gives an output of 4 x 0"),
            (json!({"size": [4]}), "size: holds 1 values"),
            (json!({"size": 2.5}), "size: is 2.5; give a whole number"),
            (json!({"size": "4"}), "size: is a text"),
            (
                json!({"size": 100_000}),
                "size: makes an output of 1 x 1 x 100000 x 100000",
            ),
            (
                json!({"size": 1_000_000_000_000_000_000i64}),
                "size: gives an output of",
            ),
            (json!({"scale_factor": 0.1}), "scale_factor: gives an output of 0 x 0"),
            (json!({"scale_factor": 0}), "scale_factor: is 0; give a number above 0"),
            (json!({"scale_factor": -2}), "scale_factor: is -2"),
            (json!({"scale_factor": 1e300}), "scale_factor: 1e300"),
            (json!({"scale_factor": "NaN"}), "scale_factor: is a text"),
            (json!({"scale_factor": [2, 2, 2]}), "scale_factor: holds 3 values"),
            (
                json!({"size": 4, "align_corners": true}),
                "align_corners: can be set for bilinear and bicubic only",
            ),
            (
                json!({"size": 4, "align_corners": false}),
                "align_corners: can be set for bilinear and bicubic only",
            ),
            (
                json!({"size": 4, "antialias": true}),
                "antialias: is for bilinear and bicubic only",
            ),
            (
                json!({"size": 4, "mode": "nearest-exact", "antialias": true}),
                "antialias: is for bilinear and bicubic only",
            ),
            (
                json!({"size": 4, "recompute_scale_factor": true}),
                "recompute_scale_factor: means nothing",
            ),
            (
                json!({"size": 4, "mode": "bilinaer"}),
                "mode: `bilinaer` is not known; did you mean `bilinear`?",
            ),
            (
                json!({"size": 4, "mode": "trilinear"}),
                "mode: `trilinear` is not known",
            ),
            (
                json!({"sizes": 4}),
                "sizes: is not a field of this case; did you mean `size`?",
            ),
        ] {
            let message = refused(&interpolate(params));
            assert!(message.starts_with(expected), "{message}");
        }
        for (case, expected) in [
            (json!({"op": "resize", "input": image}), "op: `resize` is not known"),
            (json!({"op": "interpolate", "params": {"size": 2}}), "input: is missing"),
            (
                json!({"op": "interpolate", "params": {"size": 2}, "input": []}),
                "input: is empty",
            ),
            (
                json!({"op": "interpolate", "params": {"size": 2}, "input": [[[[]]]]}),
                "input: has 1 channels of 1 x 0",
            ),
            (
                json!({"op": "interpolate", "params": {"size": 2}, "input": [[[1]]]}),
                "input: has a number where",
            ),
            (
                json!({"op": "interpolate", "params": {"size": 2}, "input": [[[[256]]]], "dtype": "u8"}),
                "input: element 0 (counted in order) is 256; give a whole number from 0 to 255",
            ),
            (
                json!({"op": "interpolate", "params": {"size": 2}, "input": image, "weight": []}),
                "weight: is for conv_transpose2d",
            ),
            (
                json!({"op": "pixel_shuffle", "params": {"upscale_factor": 2}, "input": image}),
                "upscale_factor: is 2, and 1 channels",
            ),
            (
                json!({"op": "pixel_shuffle", "params": {"upscale_factor": 0}, "input": image}),
                "upscale_factor: is 0",
            ),
            (
                json!({"op": "pixel_shuffle", "params": {"upscale_factor": -1}, "input": image}),
                "upscale_factor: is -1",
            ),
            (
                json!({"op": "pixel_shuffle", "params": {}, "input": image}),
                "upscale_factor: is missing",
            ),
            (
                json!({"op": "pixel_unshuffle", "params": {"downscale_factor": 3}, "input": image}),
                "downscale_factor: is 3, and the height",
            ),
        ] {
            let message = refused(&case);
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn wrong_unpoolings_are_refused_by_name() {
        let image = json!([[[[1.0, 2.0], [3.0, 4.0]]]]);
        let places = json!([[[[0, 2], [8, 10]]]]);
        for (params, indices, expected) in [
            (json!({}), places.clone(), "kernel_size: is missing"),
            (
                json!({"kernel_size": [2]}),
                places.clone(),
                "kernel_size: holds 1 values",
            ),
            (
                json!({"kernel_size": 2, "stride": 1}),
                places.clone(),
                "indices: element 3 (counted in order) is 10",
            ),
            (
                json!({"kernel_size": 2, "output_size": [6, 5]}),
                places.clone(),
                "output_size: has a height of 6",
            ),
            (
                json!({"kernel_size": 2, "output_size": [5]}),
                places.clone(),
                "output_size: holds 1 values",
            ),
            (
                json!({"kernel_size": 2, "padding": 3}),
                places.clone(),
                "padding: makes the output's height -2",
            ),
            (
                json!({"kernel_size": i64::MAX}),
                places.clone(),
                "kernel_size: is too large",
            ),
            (
                json!({"kernel_size": 2}),
                json!([[[[0, 2], [8, 16]]]]),
                "indices: element 3 (counted in order) is 16",
            ),
            (
                json!({"kernel_size": 2}),
                json!([[[[0, -1], [8, 10]]]]),
                "indices: element 1 (counted in order) is -1",
            ),
            (
                json!({"kernel_size": 2}),
                json!([[[[0, 0.5], [8, 10]]]]),
                "indices: element 1 (counted in order) is 0.5",
            ),
            (
                json!({"kernel_size": 2}),
                json!([[[[0, "NaN"], [8, 10]]]]),
                "indices: element 1",
            ),
            (
                json!({"kernel_size": 2}),
                json!([[[[0, 2]]]]),
                "indices: has the lengths [1, 1, 1, 2]",
            ),
            (
                json!({"kernel_size": 100_000}),
                places.clone(),
                "kernel_size: makes an output of",
            ),
        ] {
            let case = json!({"op": "max_unpool2d", "params": params, "input": image, "indices": indices});
            let message = refused(&case);
            assert!(message.starts_with(expected), "{message}");
        }
        let case = json!({"op": "max_unpool2d", "params": {"kernel_size": 2}, "input": image, "dtype": "u8"});
        assert!(refused(&case).starts_with("dtype: max_unpool2d is not defined for u8"));
    }

    #[test]
    fn wrong_transposed_convolutions_are_refused_by_name() {
        let image = json!([[[[1.0, 2.0], [3.0, 4.0]]]]);
        let kernel = json!([[[[1.0, 2.0], [3.0, 4.0]]]]);
        for (params, weight, bias, expected) in [
            (
                json!({"stride": 0}),
                &kernel,
                json!(null),
                "stride: is 0; give at least 1",
            ),
            (
                json!({"stride": [2, 2, 2]}),
                &kernel,
                json!(null),
                "stride: holds 3 values",
            ),
            (json!({"stride": 2.5}), &kernel, json!(null), "stride: is 2.5"),
            (
                json!({"padding": -1}),
                &kernel,
                json!(null),
                "padding: is -1; give at least 0",
            ),
            (json!({"padding": "same"}), &kernel, json!(null), "padding: is a text"),
            (
                json!({"padding": 2}),
                &kernel,
                json!(null),
                "padding: is 2: it cuts 4 pixels from 3",
            ),
            (json!({"dilation": 0}), &kernel, json!(null), "dilation: is 0"),
            (
                json!({"output_padding": 1}),
                &kernel,
                json!(null),
                "output_padding: is 1; it must be smaller",
            ),
            (
                json!({"stride": 2, "output_padding": [0, 2]}),
                &kernel,
                json!(null),
                "output_padding: is 2",
            ),
            (json!({"groups": 0}), &kernel, json!(null), "groups: is 0"),
            (
                json!({"groups": 2}),
                &kernel,
                json!(null),
                "groups: is 2, and 1 input channels",
            ),
            (
                json!({}),
                &json!([[[[1.0]]], [[[1.0]]]]),
                json!(null),
                "weight: is for 2 input channels",
            ),
            (json!({}), &json!([[[[]]]]), json!(null), "weight: has the lengths"),
            (json!({}), &json!([[1.0]]), json!(null), "weight: has a number where"),
            (
                json!({}),
                &kernel,
                json!([1, 2]),
                "bias: holds 2 values; give one for each of the 1",
            ),
            (
                json!({"stride": 50_000}),
                &kernel,
                json!(null),
                "stride: makes an output of",
            ),
            (json!({"stride": i64::MAX}), &kernel, json!(null), "stride: "),
            (json!({"dilation": i64::MAX}), &kernel, json!(null), "dilation: "),
            (
                json!({"stride": 1_000_000, "padding": 499_990}),
                &kernel,
                json!(null),
                "stride: ",
            ),
            (
                json!({"dilation": 1_000_000_000, "padding": 499_999_990}),
                &kernel,
                json!(null),
                "dilation: ",
            ),
        ] {
            let case = json!({
                "op": "conv_transpose2d", "params": params, "input": image, "weight": weight, "bias": bias
            });
            let message = refused(&case);
            assert!(message.starts_with(expected), "{params} {message}");
        }
        let case = json!({"op": "conv_transpose2d", "input": image, "weight": kernel, "dtype": "u8"});
        assert!(refused(&case).starts_with("dtype: conv_transpose2d is not defined for u8"));
    }

    #[test]
    fn defaults_single_images_and_bytes() {
        for (case, expected) in [
            (
                r#"{"op":"interpolate","params":{"scale_factor":2},"input":[[[[1,2]]]],"dtype":"u8"}"#,
                r#"{"output":[[[[1,1,2,2],[1,1,2,2]]]]}"#,
            ),
            (
                r#"{"op":"pixel_shuffle","params":{"upscale_factor":2},"input":[[[1]],[[2]],[[3]],[["NaN"]]]}"#,
                r#"{"output":[[[1.0,2.0],[3.0,"NaN"]]]}"#,
            ),
            (
                r#"{"op":"max_unpool2d","params":{"kernel_size":[1,2]},"input":[[[5,6]]],"indices":[[[1,2]]]}"#,
                r#"{"output":[[[0.0,5.0,6.0,0.0]]]}"#,
            ),
            (
                r#"{"op":"conv_transpose2d","params":{"stride":[2]},"input":[[[1,2]]],"weight":[[[[1,10]]]],"bias":[0.5]}"#,
                r#"{"output":[[[1.5,10.5,2.5,20.5]]]}"#,
            ),
        ] {
            assert_eq!(solve(&Upsampling, case).as_deref(), Ok(expected));
        }
    }

    /// Values that a parameter should not have, among some that it may.
    fn odd() -> impl Strategy<Value = Value> {
        let number = prop::sample::select(vec![
            json!(0),
            json!(1),
            json!(2),
            json!(3),
            json!(-1),
            json!(5000),
            json!(1 << 31),
            json!(1_i64 << 53),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(0.5),
            json!(1.5),
            json!(1e-300),
            json!(1e300),
            json!("NaN"),
            json!(null),
            json!(true),
            json!({}),
            json!([]),
        ]);
        prop_oneof![
            3 => number.clone(),
            2 => prop::collection::vec(number, 0..5).prop_map(Value::Array),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_case_panics_or_takes_more_than_its_share(
            operation in prop::sample::select(super::super::case::OPERATIONS.to_vec()),
            params in prop::collection::btree_map(
                prop::sample::select(vec![
                    "size", "scale_factor", "align_corners", "antialias", "recompute_scale_factor", "upscale_factor",
                    "downscale_factor", "kernel_size", "stride", "padding", "output_size", "output_padding",
                    "dilation", "groups",
                ]),
                odd(),
                0..6,
            ),
            mode in prop::sample::select(vec!["nearest", "nearest-exact", "bilinear", "bicubic"]),
            bytes in any::<bool>(),
            extra in prop::option::of(odd()),
        ) {
            let own: &[&str] = match operation {
                "interpolate" => &["size", "scale_factor", "align_corners", "antialias", "recompute_scale_factor"],
                "pixel_shuffle" => &["upscale_factor"],
                "pixel_unshuffle" => &["downscale_factor"],
                "max_unpool2d" => &["kernel_size", "stride", "padding", "output_size"],
                _ => &["stride", "padding", "output_padding", "dilation", "groups"],
            };
            let mut params: serde_json::Map<String, Value> = params
                .into_iter()
                .filter(|(name, _)| own.contains(name))
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            if operation == "interpolate" {
                params.insert("mode".to_owned(), json!(mode));
            }
            let mut case = json!({
                "op": operation,
                "params": params,
                "input": [[[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[5, 6], [7, 8]], [[5, 6], [7, 8]]]],
            });
            if bytes {
                case["dtype"] = json!("u8");
            }
            if operation == "max_unpool2d" {
                case["indices"] = extra.unwrap_or_else(|| json!([[[[0, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]]));
            } else if operation == "conv_transpose2d" {
                case["weight"] = json!([[[[1, 2]]], [[[3, 4]]], [[[1, 2]]], [[[3, 4]]]]);
                case["bias"] = extra.unwrap_or(Value::Null);
            }
            // Told or refused; a panic fails the test.
            let _ = Upsampling.solve(&case, &Sequential);
        }
    }
}
