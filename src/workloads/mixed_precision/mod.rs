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

mod cases;
mod convolution;
mod course;
pub mod digits;
mod format;
mod layers;
mod optimizer;
mod oracle;
mod perceptron;
mod policy;
mod scale;
mod spares;
mod trainer;
mod vectors;
mod workload;

pub use convolution::ConvolutionNet;
pub use course::{Batches, Course, MOST_SHARDS, Mode, Model, Settings};
pub use format::{Format, Stored};
pub use layers::{
    add_bias, bias_gradient, bias_relu, dense, dense_input_gradient, dense_weight_gradient, gelu, gelu_gradient,
    layer_norm, layer_norm_gradient, relu_gradient, softmax_cross_entropy,
};
pub use optimizer::{Moments, Optimizer};
pub use perceptron::Perceptron;
pub use policy::{Cast, POLICY, Width};
pub use scale::LossScale;
pub use spares::{Borrowed, Spares};
pub use trainer::{Network, StepOutcome, Trainer};
pub use vectors::Vectors;
pub use workload::MixedPrecision;

use self::digits::Samples;
use crate::Join;
use crate::linear::{Element, Real};

/// A network that tells digits apart.
pub trait Classifier<T: Element>: Network<T, Batch = Samples<T>> {
    /// The likeliest class of each image.
    fn classify(&self, weights: &[T], pixels: &[T], classes: &mut Vec<u32>, join: &dyn Join);

    /// Bytes that one shard's activations and their gradients took in the storage type, counted from
    /// the buffers themselves; the largest so far.
    fn activation_bytes(&self) -> usize;

    /// Multiplications of an image's forward pass.
    fn products(&self) -> usize;
}

/// The place of the largest value of each row, of equal ones the first.
fn largest_of_each<S: Real>(rows: &[S], columns: usize, places: &mut Vec<u32>) {
    places.clear();
    places.extend(rows.chunks_exact(columns).map(|row| {
        let mut most = 0;
        for (at, value) in row.iter().enumerate() {
            if *value > row[most] {
                most = at;
            }
        }
        most as u32
    }));
}

/// Images that [`correct`] gives a network at a time.
const CLASSIFIED_AT_ONCE: usize = 60;

/// How many samples have their label for class.
pub fn correct<T: Element, N: Classifier<T>>(
    network: &N,
    weights: &[T],
    samples: &Samples<T>,
    join: &dyn Join,
) -> usize {
    let mut classes = Vec::with_capacity(CLASSIFIED_AT_ONCE);
    let mut right = 0;
    for (pixels, labels) in samples
        .pixels
        .chunks(CLASSIFIED_AT_ONCE * digits::PIXELS)
        .zip(samples.labels.chunks(CLASSIFIED_AT_ONCE))
    {
        network.classify(weights, pixels, &mut classes, join);
        right += classes
            .iter()
            .zip(labels)
            .filter(|(class, label)| class == label)
            .count();
    }
    right
}

/// The share of the samples whose class is their label.
pub fn accuracy<T: Element, N: Classifier<T>>(
    network: &N,
    weights: &[T],
    samples: &Samples<T>,
    join: &dyn Join,
) -> f64 {
    correct(network, weights, samples, join) as f64 / samples.labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::course::{convolution_net, perceptron};
    use super::digits::Digits;
    use super::*;
    use crate::Sequential;
    use crate::linear::{bf16, f16};
    use crate::random::Random;
    use crate::tests::OnThreads;

    const SETTINGS: Settings = Settings {
        model: Model::Mlp,
        hidden: 32,
        batch: 64,
        shards: 1,
        optimizer: Optimizer::Sgd {
            rate: 0.1,
            momentum: 0.9,
            weight_decay: 0.0,
        },
        loss_scale: LossScale::OFF,
    };

    /// Every gradient of a network in f64 against the slope of its loss.
    fn check_slopes<N: Classifier<f64>>(network: &N, images: usize, every: usize) {
        let digits = Digits::unpack();
        let batch = digits.samples::<f64>(&digits.train()[..images]);
        let mut weights = network.initial(3);
        let random = &mut Random::new(3, 9);
        for weight in &mut weights {
            // Biases too: at 0 many sums would be 0, where ReLU has no slope.
            *weight += random.below(1000) as f64 / 2e4 - 0.025;
        }
        let loss = |weights: &[f64]| {
            let mut gradient = vec![0.0; weights.len()];
            network.gradient(weights, &batch, 1.0, &mut gradient, &Sequential)
        };
        let mut gradient = vec![1.0; weights.len()];
        network.gradient(&weights, &batch, 8.0, &mut gradient, &Sequential);
        for at in (0..weights.len()).step_by(every) {
            let step = 1e-6;
            let kept = weights[at];
            weights[at] = kept + step;
            let above = loss(&weights);
            weights[at] = kept - step;
            let below = loss(&weights);
            weights[at] = kept;
            let slope = (above - below) / (2.0 * step);
            assert!(
                (gradient[at] - 1.0 - 8.0 * slope).abs() < 1e-6,
                "weight {at}: {} but 1 + 8 * {slope}",
                gradient[at]
            );
        }
    }

    #[test]
    fn the_perceptron_s_gradient_is_the_slope_of_its_loss() {
        check_slopes(&Perceptron::new(&[64, 7, 5, 10]), 6, 1);
        check_slopes(&Perceptron::new(&[64, 10]), 1, 1);
        check_slopes(&Perceptron::new(&[64, 33, 10]), 3, 5);
    }

    #[test]
    fn the_convolution_net_s_gradient_is_the_slope_of_its_loss() {
        // One image, less than a block of them, and more; channels that fill a vector and don't.
        check_slopes(&ConvolutionNet::new([2, 3]), 1, 1);
        check_slopes(&ConvolutionNet::new([3, 2]), 3, 1);
        check_slopes(&ConvolutionNet::new([16, 17]), 5, 7);
        check_slopes(&ConvolutionNet::new([17, 16]), 9, 11);
    }

    /// The gradient in `T` after scaling and unscaling, and that in f64, at the same weights.
    fn gradients<T: Element, N: Classifier<T>, M: Classifier<f64>>(
        network: &N,
        exact: &M,
        weights: &[T],
        images: &[u16],
        scale: f64,
    ) -> (Vec<f64>, Vec<f64>) {
        let digits = Digits::unpack();
        let mut gradient = vec![T::Sum::default(); weights.len()];
        let batch = digits.samples::<T>(images);
        network.gradient(weights, &batch, T::Sum::of(scale), &mut gradient, &Sequential);
        let got = gradient.iter().map(|value| value.to_f64() / scale).collect();
        let weights: Vec<f64> = weights.iter().map(|weight| weight.wide().to_f64()).collect();
        let mut gradient = vec![0.0; weights.len()];
        exact.gradient(&weights, &digits.samples(images), 1.0, &mut gradient, &Sequential);
        (got, gradient)
    }

    fn narrowed<T: Element>(values: &[T::Sum]) -> Vec<T> {
        let mut narrow = vec![T::default(); values.len()];
        T::narrow_all(values, &mut narrow);
        narrow
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    }

    #[test]
    fn gradients_in_half_width_are_near_those_in_f64() {
        fn check<T: Stored>() {
            let digits = Digits::unpack();
            let images = &digits.train()[..100];
            let bound = 8.0 * T::FORMAT.unit_roundoff();
            let network = perceptron::<T>(64);
            let weights = narrowed::<T>(&network.initial(1));
            let (got, exact) = gradients(&network, &perceptron(64), &weights, images, 1024.0);
            let apart = distance(&got, &exact) / distance(&exact, &vec![0.0; exact.len()]);
            assert!(apart < bound, "{}: {apart}", T::NAME);
            let network = convolution_net::<T>(64);
            let weights = narrowed::<T>(&network.initial(1));
            let (got, exact) = gradients(&network, &convolution_net(64), &weights, images, 1024.0);
            let apart = distance(&got, &exact) / distance(&exact, &vec![0.0; exact.len()]);
            assert!(apart < bound, "{}: {apart}", T::NAME);
        }
        check::<f32>();
        check::<f16>();
        check::<bf16>();
    }

    /// Mean test accuracy over five seeds.
    fn mean_accuracy<T: Element, N: Classifier<T>>(make: impl Fn() -> N, settings: &Settings, epochs: usize) -> f64 {
        let digits = Digits::unpack();
        let test = digits.samples::<T>(digits.test());
        let mut total = 0.0;
        for seed in 0..5 {
            let network = make();
            let mut course = Course::new(&digits, &network, settings, seed);
            for _ in 0..epochs * course.steps_per_epoch() {
                course.step(&Sequential);
            }
            total += accuracy(&network, course.trainer.weights(), &test, &Sequential);
        }
        total / 5.0
    }

    #[test]
    fn half_width_learns_as_well_as_full_width() {
        let scaled = LossScale::new(65536.0, 2.0, 0.5, 50);
        for optimizer in [Optimizer::sgd(0.1, 0.9), Optimizer::adam(0.003)] {
            let settings = Settings { optimizer, ..SETTINGS };
            let in_half = Settings {
                loss_scale: scaled,
                ..settings
            };
            let full = mean_accuracy::<f32, _>(|| perceptron(64), &settings, 20);
            let f16 = mean_accuracy::<f16, _>(|| perceptron(64), &in_half, 20);
            let bf16 = mean_accuracy::<bf16, _>(|| perceptron(64), &in_half, 20);
            println!("mlp {optimizer:?}: f32 {full}, f16 {f16}, bf16 {bf16}");
            assert!(full > 0.95, "{full}");
            assert!((f16 - full).abs() <= 0.005, "f16 {f16}, f32 {full}");
            assert!((bf16 - full).abs() <= 0.005, "bf16 {bf16}, f32 {full}");
        }
        let settings = Settings { shards: 2, ..SETTINGS };
        let in_half = Settings {
            loss_scale: scaled,
            ..settings
        };
        let full = mean_accuracy::<f32, _>(|| convolution_net(32), &settings, 6);
        let f16 = mean_accuracy::<f16, _>(|| convolution_net(32), &in_half, 6);
        let bf16 = mean_accuracy::<bf16, _>(|| convolution_net(32), &in_half, 6);
        println!("conv: f32 {full}, f16 {f16}, bf16 {bf16}");
        assert!(full > 0.95, "{full}");
        assert!((f16 - full).abs() <= 0.005, "f16 {f16}, f32 {full}");
        assert!((bf16 - full).abs() <= 0.005, "bf16 {bf16}, f32 {full}");
    }

    #[test]
    fn activations_and_weight_copies_take_half_the_bytes() {
        fn bytes<T: Element, N: Classifier<T>>(network: &N) -> [usize; 2] {
            let digits = Digits::unpack();
            let mut course = Course::new(&digits, network, &SETTINGS, 1);
            course.step(&Sequential);
            [network.activation_bytes(), course.trainer.weight_bytes()]
        }
        let twice = |[activations, weights]: [usize; 2]| [2 * activations, 2 * weights];
        let full = bytes::<f32, _>(&perceptron(32));
        assert_eq!(full[1], 4 * (65 * 32 + 33 * 32 + 33 * 10));
        // Pixels, two layers, and the gradients of a layer and the one before.
        assert_eq!(full[0], 4 * 64 * (64 + 32 + 32 + 32 + 32));
        assert_eq!(twice(bytes::<f16, _>(&perceptron(32))), full);
        assert_eq!(twice(bytes::<bf16, _>(&perceptron(32))), full);
        let full = bytes::<f32, _>(&convolution_net(32));
        assert_eq!(twice(bytes::<f16, _>(&convolution_net(32))), full);
        assert_eq!(twice(bytes::<bf16, _>(&convolution_net(32))), full);
        assert_eq!(twice(full), bytes::<f64, _>(&convolution_net(32)));
    }

    /// Trained until its gradients are small.
    fn trained(epochs: usize) -> Vec<f32> {
        let digits = Digits::unpack();
        let network = perceptron::<f32>(64);
        let mut course = Course::new(&digits, &network, &SETTINGS, 5);
        for _ in 0..epochs * course.steps_per_epoch() {
            course.step(&Sequential);
        }
        course.trainer.into_master()
    }

    #[test]
    fn without_loss_scaling_small_gradients_vanish_in_f16() {
        let digits = Digits::unpack();
        let weights = narrowed::<f16>(&trained(300));
        let network = perceptron::<f16>(64);
        // Of the values that are not 0 in f64, the share that is 0; and the error of all together.
        let lost = |scale: f64| {
            let (got, exact) = gradients(&network, &perceptron(64), &weights, digits.train(), scale);
            let there = exact.iter().filter(|value| **value != 0.0).count();
            let gone = got
                .iter()
                .zip(&exact)
                .filter(|(got, exact)| **exact != 0.0 && **got == 0.0);
            let error = distance(&got, &exact) / distance(&exact, &vec![0.0; exact.len()]);
            (gone.count() as f64 / there as f64, error)
        };
        let ((plain, plain_error), (scaled, scaled_error)) = (lost(1.0), lost(65536.0));
        println!("vanished: {plain} without scaling, {scaled} with; errors {plain_error}, {scaled_error}");
        assert!(plain > 0.08, "{plain}");
        assert!(scaled < 0.01, "{scaled}");
        assert!(plain_error > 0.15, "{plain_error}");
        assert!(scaled_error < 0.03, "{scaled_error}");
    }

    /// One weight whose gradient is the same in every batch, stored in `T` on its way, as an activation
    /// gradient is.
    struct Constant(f32);

    impl<T: Element<Sum = f32>> Network<T> for Constant {
        type Batch = ();

        fn parameters(&self) -> usize {
            1
        }

        fn initial(&self, _: u64) -> Vec<f32> {
            vec![1.0]
        }

        fn gradient(&self, weights: &[T], (): &(), scale: f32, gradient: &mut [f32], _: &dyn Join) -> f32 {
            gradient[0] += T::narrow(self.0 * scale).wide();
            weights[0].wide()
        }
    }

    fn after_steps<T: Element<Sum = f32>>(gradient: f32, rate: f64, loss_scale: LossScale, steps: usize) -> f32 {
        let network = Constant(gradient);
        let mut trainer: Trainer<'_, T, _> = Trainer::new(&network, Optimizer::sgd(rate, 0.0), loss_scale, 0);
        for _ in 0..steps {
            trainer.step(&[&()], &Sequential);
        }
        trainer.master()[0]
    }

    #[test]
    fn a_gradient_below_the_smallest_f16_moves_the_weight_only_when_scaled() {
        // 1e-8 is under half of 2^-24, the smallest f16.
        assert_eq!(after_steps::<f16>(1e-8, 1e5, LossScale::off(), 100), 1.0);
        let scaled = after_steps::<f16>(1e-8, 1e5, LossScale::default(), 100);
        assert!((scaled - 0.9).abs() < 1e-4, "{scaled}");
        // bf16 has the range of f32 and needs no scale.
        let bf16 = after_steps::<bf16>(1e-8, 1e5, LossScale::off(), 100);
        assert!((bf16 - 0.9).abs() < 1e-3, "{bf16}");
    }

    #[test]
    fn updates_too_small_for_half_width_add_up_in_the_master() {
        // 1e-4 from 1.0 is less than half a step of f16 (2^-11 below 1) and of bf16.
        let lost = f16::from_f32(1.0 - 1e-4);
        assert_eq!(lost, f16::ONE);
        let moved = after_steps::<f16>(1.0, 1e-4, LossScale::default(), 1000);
        assert!((moved - 0.9).abs() < 1e-4, "{moved}");
        let moved = after_steps::<bf16>(1.0, 1e-4, LossScale::off(), 1000);
        assert!((moved - 0.9).abs() < 1e-4, "{moved}");
    }

    #[test]
    fn a_step_that_overflows_is_skipped_and_halves_the_scale() {
        let network = Constant(1.0);
        let mut trainer: Trainer<'_, f16, _> = Trainer::new(
            &network,
            Optimizer::sgd(0.25, 0.9),
            LossScale::new(262_144.0, 2.0, 0.5, 3),
            0,
        );
        let mut steps = Vec::new();
        for _ in 0..7 {
            let outcome = trainer.step(&[&()], &Sequential);
            assert_eq!(outcome.overflow, outcome.skipped);
            steps.push((outcome.skipped, outcome.scale, trainer.master()[0]));
        }
        // 65536 and more are infinite in f16: three skips, then three good steps, growth, a skip. The
        // momentum knows nothing of the skipped ones: 0.25, 0.475, 0.6775.
        assert_eq!(
            steps.iter().map(|step| (step.0, step.1)).collect::<Vec<_>>(),
            [
                (true, 262_144.0),
                (true, 131_072.0),
                (true, 65_536.0),
                (false, 32_768.0),
                (false, 32_768.0),
                (false, 32_768.0),
                (true, 65_536.0)
            ]
        );
        let weights: Vec<f32> = steps.iter().map(|step| step.2).collect();
        assert_eq!(weights[..4], [1.0, 1.0, 1.0, 0.75]);
        assert_eq!(weights[5], weights[6]);
        assert!((weights[6] - (1.0 - 0.25 - 0.475 - 0.6775)).abs() < 1e-6);
        assert_eq!(
            (trainer.overflows(), trainer.skipped_steps(), trainer.optimizer_steps()),
            (4, 4, 3)
        );
        assert_eq!(trainer.weights(), [f16::from_f32(trainer.master()[0])]);
    }

    #[test]
    fn without_scaling_an_overflow_is_told_but_not_skipped() {
        let network = Constant(1e6);
        let mut trainer: Trainer<'_, f16, _> = Trainer::new(&network, Optimizer::sgd(0.25, 0.0), LossScale::off(), 0);
        let outcome = trainer.step(&[&()], &Sequential);
        assert_eq!((outcome.overflow, outcome.skipped), (true, false));
        assert_eq!(trainer.master()[0], f32::NEG_INFINITY);
        assert_eq!((trainer.overflows(), trainer.skipped_steps()), (1, 0));
    }

    #[test]
    fn the_number_of_shards_decides_the_bits_and_the_number_of_threads_does_not() {
        fn weights<T: Element, N: Classifier<T>>(network: &N, shards: usize, join: &dyn Join) -> Vec<u64> {
            let digits = Digits::unpack();
            let settings = Settings {
                shards,
                batch: 50,
                loss_scale: LossScale::default(),
                ..SETTINGS
            };
            let mut course = Course::new(&digits, network, &settings, 4);
            for _ in 0..3 {
                course.step(join);
            }
            let master = course.trainer.master().iter();
            master.map(|weight| weight.to_f64().to_bits()).collect()
        }
        fn check<T: Stored>() {
            for shards in [1, 2, 3, 16] {
                let mlp = weights::<T, _>(&perceptron(40), shards, &Sequential);
                assert!(mlp == weights::<T, _>(&perceptron(40), shards, &OnThreads(2)));
                assert!(mlp == weights::<T, _>(&perceptron(40), shards, &OnThreads(5)));
                let conv = weights::<T, _>(&convolution_net(24), shards, &Sequential);
                assert!(conv == weights::<T, _>(&convolution_net(24), shards, &OnThreads(2)));
                assert!(conv == weights::<T, _>(&convolution_net(24), shards, &OnThreads(5)));
            }
        }
        check::<f64>();
        check::<f32>();
        check::<f16>();
        check::<bf16>();
    }

    #[test]
    fn shards_make_no_difference_but_that_of_rounding() {
        let digits = Digits::unpack();
        let network = perceptron::<f64>(32);
        let after = |shards| {
            let settings = Settings { shards, ..SETTINGS };
            let mut course = Course::new(&digits, &network, &settings, 4);
            let losses: Vec<f64> = (0..5).map(|_| course.step(&Sequential).loss).collect();
            (losses, course.trainer.into_master())
        };
        let (losses, whole) = after(1);
        assert!(losses[4] < losses[0]);
        for shards in [2, 4, 8] {
            let (cut_losses, cut) = after(shards);
            assert!(distance(&losses, &cut_losses) < 1e-12);
            assert!(distance(&whole, &cut) < 1e-12, "{}", distance(&whole, &cut));
        }
    }

    #[test]
    fn a_smaller_rate_takes_a_smaller_step() {
        let network = Constant(1.0);
        let mut trainer: Trainer<'_, f32, _> = Trainer::new(&network, Optimizer::sgd(0.5, 0.0), LossScale::off(), 0);
        trainer.set_rate_scale(0.5);
        trainer.step(&[&(), &()], &Sequential);
        assert_eq!(trainer.master(), [0.75]);
        assert_eq!(trainer.gradient(), [1.0]);
        // In f32 the master is the copy: no second one is kept.
        assert!(std::ptr::eq(trainer.weights(), trainer.master()));
    }

    #[test]
    fn the_loss_is_not_rounded_to_the_storage_type_and_the_copy_is() {
        let digits = Digits::unpack();
        let network = perceptron::<bf16>(32);
        let mut course = Course::new(&digits, &network, &SETTINGS, 1);
        let loss = course.step(&Sequential).loss;
        assert_ne!(f64::from(bf16::from_f64(loss).to_f32()), loss);
        assert_eq!(course.trainer.weights(), narrowed::<bf16>(course.trainer.master()));
        let exact = course.trainer.master().iter().filter(|weight| {
            let stored = bf16::from_f32(**weight);
            stored.to_f32() == **weight
        });
        // Nearly no master weight happens to be a bf16.
        assert!(exact.count() * 20 < course.trainer.master().len());
    }

    #[test]
    fn vectors_of_every_width_give_the_same_gradients() {
        use super::layers::{AT_MOST, Level};
        // Channels of one vector, of two, and of none that fills one.
        for channels in [[16, 32], [5, 18], [32, 48]] {
            let digits = Digits::unpack();
            let network = ConvolutionNet::<f32>::new(channels);
            let weights = network.initial(1);
            let batch = digits.samples(&digits.train()[..7]);
            let gradients = [Level::Avx512, Level::Avx2, Level::Plain].map(|level| {
                AT_MOST.set(level);
                let mut gradient = vec![0.0; weights.len()];
                network.gradient(&weights, &batch, 1.0, &mut gradient, &Sequential);
                let mut mlp = vec![0.0; perceptron::<f32>(33).parameters()];
                let mlp_weights = perceptron::<f32>(33).initial(1);
                perceptron::<f32>(33).gradient(&mlp_weights, &batch, 1.0, &mut mlp, &Sequential);
                gradient.extend(mlp);
                gradient.into_iter().map(f64::from).collect::<Vec<f64>>()
            });
            AT_MOST.set(Level::Avx512);
            let length = distance(&gradients[0], &vec![0.0; gradients[0].len()]);
            assert!(distance(&gradients[0], &gradients[1]) < 1e-6 * length);
            assert!(distance(&gradients[0], &gradients[2]) < 1e-6 * length);
        }
        let step = |level| {
            AT_MOST.set(level);
            let mut master: Vec<f32> = (0..77).map(|at| at as f32 / 7.0 - 3.0).collect();
            let gradient: Vec<f32> = master.iter().map(|weight| weight.sin()).collect();
            Moments::new(Optimizer::adam(0.1), 77).step(&mut master, &gradient, 1.0, &Sequential);
            AT_MOST.set(Level::Avx512);
            master
        };
        // Nothing is fused here: the very same bits.
        assert_eq!(step(Level::Avx512), step(Level::Avx2));
        assert_eq!(step(Level::Avx512), step(Level::Plain));
    }

    #[test]
    fn a_network_of_another_width_may_borrow_what_the_last_one_left() {
        // A large batch first, so that a small one finds more room than it needs.
        let digits = Digits::unpack();
        let network = convolution_net::<f16>(16);
        let weights = narrowed::<f16>(&network.initial(1));
        let gradient_of = |network: &ConvolutionNet<f16>, count: usize| {
            let mut gradient = vec![0.0; weights.len()];
            let batch = digits.samples(&digits.train()[..count]);
            network.gradient(&weights, &batch, 64.0, &mut gradient, &Sequential);
            gradient
        };
        gradient_of(&network, 33);
        assert!(gradient_of(&network, 5) == gradient_of(&convolution_net(16), 5));
        assert!(gradient_of(&network, 0).iter().all(|value| *value == 0.0));
    }
}
