//! The catalogue's entry: what a load of upsampling is made of, run and checked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::axis::Mode;
use super::case;
use super::definition::{self, Definition};
use super::fresh::zeros;
use super::images::Shape;
use super::interpolation::{self, Interpolation, Resize, Target, resized};
use super::pictures::{MOTIFS, picture};
use super::rows::{Pixel, SLACK};
use super::shuffle::{pixel_shuffle_into, pixel_shuffled, pixel_unshuffle_into, pixel_unshuffled};
use super::split::{for_each_run, most_runs};
use super::transposed::{self, KernelShape, TransposedConvolution, Transposition};
use super::unpool::{Pooling, max_unpool_into, unpooled};
use crate::digest::Digest;
use crate::random::Random;
use crate::{About, Answer, BadInput, Domain, Fact, Join, Mismatch, Parameter, Params, Prepared, Workload};

/// The catalogue's entry.
pub struct Upsampling;

static ABOUT: About = About {
    name: "upsampling",
    title: "Upsampling",
    summary: "Makes images larger as PyTorch does: interpolation, pixel shuffle, max-unpooling, transposed convolution.",
    parameters: &[
        Parameter {
            name: "op",
            meaning: "the operation, by PyTorch's name",
            unit: "",
            domain: Domain::Choice(&case::OPERATIONS),
            default: "interpolate",
        },
        Parameter {
            name: "mode",
            meaning: "how interpolate finds values between pixels",
            unit: "",
            domain: Domain::Choice(&["nearest", "nearest-exact", "bilinear", "bicubic"]),
            default: "bicubic",
        },
        Parameter {
            name: "dtype",
            meaning: "the pixels' type; max_unpool2d and conv_transpose2d take f32 only",
            unit: "",
            domain: Domain::Choice(&["f32", "u8"]),
            default: "f32",
        },
        Parameter {
            name: "channels",
            meaning: "channels of the smaller image; pixel_shuffle makes as many of factor^2 times as many",
            unit: "channels",
            domain: Domain::Integer { min: 1, max: 512 },
            default: "3",
        },
        Parameter {
            name: "height",
            meaning: "height of the input",
            unit: "pixels",
            domain: Domain::Integer { min: 1, max: 4096 },
            default: "128",
        },
        Parameter {
            name: "width",
            meaning: "width of the input",
            unit: "pixels",
            domain: Domain::Integer { min: 1, max: 4096 },
            default: "128",
        },
        Parameter {
            name: "factor",
            meaning: "how much larger each side becomes (smaller for pixel_unshuffle); whole for all but interpolate",
            unit: "",
            domain: Domain::Number { min: 0.125, max: 16.0 },
            default: "2",
        },
        Parameter {
            name: "align_corners",
            meaning: "bilinear and bicubic: the corner pixels' centres stay at the corners",
            unit: "",
            domain: Domain::Flag,
            default: "false",
        },
        Parameter {
            name: "antialias",
            meaning: "bilinear and bicubic: shrinking reads every source pixel",
            unit: "",
            domain: Domain::Flag,
            default: "false",
        },
        Parameter {
            name: "out_channels",
            meaning: "output channels of conv_transpose2d",
            unit: "channels",
            domain: Domain::Integer { min: 1, max: 512 },
            default: "8",
        },
        Parameter {
            name: "picture",
            meaning: "what the inputs show; `mixed` takes them in turn",
            unit: "",
            domain: Domain::Choice(&["mixed", "photograph", "zone_plate", "gradient", "edges", "noise"]),
            default: "mixed",
        },
        Parameter {
            name: "inputs",
            meaning: "different images that tasks take in turn",
            unit: "images",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
    ],
    shared: "all images, tables and weights, read only; a shelf of output buffers that tasks take and put back",
    per_thread: "an output buffer, and for each forked run a ring of rows already widened (interpolate) or the packed input rows of a block (conv_transpose2d)",
    checked: "the result computed again on one thread, bit for bit; and at 4096 sampled pixels the definition in f64 within a stated bound, \
              exactly for u8; pixel shuffles and max-unpooling value by value",
    input_example: r#"{"op":"interpolate","params":{"scale_factor":2,"mode":"bilinear"},"input":[[[[0,4],[8,12]]]]}"#,
    output_example: r#"{"output":[[[[0.0,1.0,3.0,4.0],[2.0,3.0,5.0,6.0],[6.0,7.0,9.0,10.0],[8.0,9.0,11.0,12.0]]]]}"#,
    notes: "A case holds op, params (PyTorch's names and defaults), input [N][C][H][W], weight [Cin][Cout / groups][kH][kW], bias and indices where the \
            operation has them, and dtype f32 (default) or u8. conv_transpose2d has kernel 2 factor, stride factor, padding factor / 2 in a load. \
            u8: PyTorch's rule, rows first, weights of 16 bits, halves upwards (see axis.rs). \
            Where PyTorch differs from itself we take the plain reading: a side of width 1 that keeps its size is copied when antialiasing, and an output \
            without pixels is refused. Sources: Keys: Cubic convolution interpolation (1981); Shi et al.: Sub-pixel convolution (2016); Zeiler and Fergus (2014) \
            for unpooling; Dumoulin and Visin: A guide to convolution arithmetic (2016).",
};

/// The parameters of a load, read.
struct Load {
    operation: &'static str,
    resize: Resize,
    bytes: bool,
    /// The input of a task.
    input: Shape,
    whole: usize,
    out_channels: usize,
    inputs: usize,
}

impl Load {
    fn read(params: &Params) -> Result<Load, BadInput> {
        let given = params.text("op");
        let operation = case::OPERATIONS
            .iter()
            .find(|name| **name == given)
            .copied()
            .unwrap_or("interpolate");
        let factor = params.number("factor");
        let whole = factor as usize;
        if operation != "interpolate" && (factor.fract() != 0.0 || whole == 0) {
            return Err(BadInput::new(
                "factor",
                format!("is {factor}; {operation} needs a whole number of at least 1"),
            ));
        }
        let bytes = params.text("dtype") == "u8";
        if bytes && matches!(operation, "max_unpool2d" | "conv_transpose2d") {
            return Err(BadInput::new(
                "dtype",
                format!("{operation} is not defined for u8; give f32"),
            ));
        }
        let channels = params.size("channels");
        let mode = params.text("mode");
        Ok(Load {
            operation,
            resize: Resize {
                mode: case::MODES
                    .into_iter()
                    .find(|known| known.name() == mode)
                    .unwrap_or(Mode::Bicubic),
                target: Target::Factor {
                    height: factor,
                    width: factor,
                    recomputed: false,
                },
                align_corners: params.flag("align_corners"),
                antialias: params.flag("antialias"),
            },
            bytes,
            input: Shape {
                images: 1,
                channels: if operation == "pixel_shuffle" {
                    channels * whole * whole
                } else {
                    channels
                },
                height: params.size("height"),
                width: params.size("width"),
            },
            whole,
            out_channels: params.size("out_channels"),
            inputs: params.size("inputs"),
        })
    }

    fn output(&self) -> Result<Shape, BadInput> {
        let factor = |bad: BadInput| BadInput::new("factor", bad.message);
        match self.operation {
            "interpolate" => {
                let (height, width) = resized((self.input.height, self.input.width), &self.resize)
                    .map_err(|bad| if bad.field == "scale_factor" { factor(bad) } else { bad })?;
                Ok(Shape {
                    height,
                    width,
                    ..self.input
                })
            }
            "pixel_shuffle" => pixel_shuffled(self.input, self.whole).map_err(factor),
            "pixel_unshuffle" => pixel_unshuffled(self.input, self.whole).map_err(factor),
            "max_unpool2d" => unpooled(self.input, &self.pooling(), None),
            _ => transposed::transposed(self.input, self.kernel(), &self.transposition()),
        }
    }

    fn pooling(&self) -> Pooling {
        let side = self.whole as i64;
        Pooling {
            kernel: [side; 2],
            stride: [side; 2],
            padding: [0; 2],
        }
    }

    fn kernel(&self) -> KernelShape {
        KernelShape {
            inputs: self.input.channels,
            outputs: self.out_channels,
            height: 2 * self.whole,
            width: 2 * self.whole,
        }
    }

    fn transposition(&self) -> Transposition {
        Transposition {
            stride: [self.whole; 2],
            padding: [self.whole / 2; 2],
            ..Transposition::default()
        }
    }

    /// Bytes of tables, and of what each run of a task works in.
    fn tables(&self) -> Result<(u64, u64), BadInput> {
        let source = (self.input.height, self.input.width);
        match self.operation {
            "interpolate" => {
                let pixel = if self.bytes { 1 } else { 4 };
                let tables = if self.bytes {
                    interpolation::table_bytes::<u8>(source, &self.resize)?
                } else {
                    interpolation::table_bytes::<f32>(source, &self.resize)?
                };
                let shrunk = 1.0 / params_factor(&self.resize);
                let reach = if self.resize.antialias {
                    4.0 * shrunk.max(1.0) + 3.0
                } else {
                    4.0
                };
                let width = self.output()?.width + 2 * SLACK;
                Ok((tables, (reach as u64 + 1) * (width as u64 * pixel + 8) + 4096))
            }
            "conv_transpose2d" => {
                let (tables, thread) = transposed::bytes(self.input, self.kernel(), &self.transposition())?;
                // The weights as drawn stay, for the check.
                Ok((tables + 4 * self.kernel().count() as u64, thread))
            }
            _ => Ok((0, 0)),
        }
    }
}

fn params_factor(resize: &Resize) -> f64 {
    match resize.target {
        Target::Factor { height, .. } => height,
        Target::Size(..) => 1.0,
    }
}

impl Workload for Upsampling {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        // What `prepare` refuses takes nothing.
        let Ok(load) = Load::read(params) else { return 0 };
        let (Ok(output), Ok((tables, run))) = (load.output(), load.tables()) else {
            return 0;
        };
        let workers = workers.max(1) as u64;
        let pixel = if load.bytes { 1 } else { 4 };
        let index = if load.operation == "max_unpool2d" { 8 } else { 0 };
        // A picture is drawn in bytes first, and for max-unpooling it is as large as the output.
        let drawn = if index > 0 { output.count() } else { load.input.count() } as u64;
        let inputs = load.inputs as u64 * (load.input.count() as u64 * (pixel + index) + 64);
        let output = output.count() as u64 * pixel;
        // The check of a max-unpooling makes a second output.
        let outputs = workers * output * if index > 0 { 2 } else { 1 } + output / 4096;
        inputs + drawn.max(outputs + workers * (most_runs(workers as usize) * run + 64 * 1024)) + tables
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let load = Load::read(params)?;
        let output = load.output()?;
        let chosen = MOTIFS.iter().find(|(name, _)| *name == params.text("picture"));
        let draw = |number: usize, channels: usize, height: usize, width: usize| {
            let motif = chosen.map_or(MOTIFS[number % MOTIFS.len()].1, |(_, motif)| *motif);
            picture(motif, channels, height, width, &mut Random::new(seed, number as u64))
        };
        if load.bytes {
            let inputs = (0..load.inputs)
                .map(|number| draw(number, load.input.channels, load.input.height, load.input.width))
                .collect();
            return Ok(Box::new(Tasks::new(inputs, output, load.moving::<u8>(output)?)));
        }
        let light = |bytes: Vec<u8>| -> Vec<f32> { bytes.into_iter().map(|byte| f32::from(byte) / 255.0).collect() };
        if load.operation == "max_unpool2d" {
            let (mut inputs, mut indices) = (Vec::new(), Vec::new());
            for number in 0..load.inputs {
                let large = draw(number, output.channels, output.height, output.width);
                let (values, places) = pooled(&large, load.input, load.whole);
                inputs.push(values);
                indices.push(places);
            }
            let unpooling = Unpooling {
                indices,
                taken: load.input.plane(),
            };
            return Ok(Box::new(Tasks::new(inputs, output, Box::new(unpooling))));
        }
        let inputs = (0..load.inputs)
            .map(|number| light(draw(number, load.input.channels, load.input.height, load.input.width)))
            .collect();
        if load.operation == "conv_transpose2d" {
            let (kernel, how) = (load.kernel(), load.transposition());
            let mut random = Random::new(seed, u64::MAX);
            let mut even = |_| (random.below(1 << 16) as f32 - 32768.0) / 65536.0;
            let weight: Vec<f32> = (0..kernel.count()).map(&mut even).collect();
            let bias: Vec<f32> = (0..output.channels).map(even).collect();
            let transposing = Transposing {
                convolution: TransposedConvolution::new(load.input, kernel, &weight, Some(&bias), &how)?,
                input: load.input,
                output,
                kernel,
                weight,
                bias,
                how,
            };
            return Ok(Box::new(Tasks::new(inputs, output, Box::new(transposing))));
        }
        Ok(Box::new(Tasks::new(inputs, output, load.moving::<f32>(output)?)))
    }

    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
        case::solve(input, join)
    }
}

/// The greatest value of each window of `side` x `side` bytes, as light from 0 to 1, and its place in its plane.
fn pooled(large: &[u8], small: Shape, side: usize) -> (Vec<f32>, Vec<i64>) {
    let (height, width) = (small.height * side, small.width * side);
    let mut values = Vec::with_capacity(small.count());
    let mut places = Vec::with_capacity(small.count());
    for plane in large.chunks_exact(height * width) {
        for y in 0..small.height {
            for x in 0..small.width {
                let window = (0..side * side).map(|at| (y * side + at / side) * width + x * side + at % side);
                // The first of the greatest, as PyTorch's pooling has it.
                let best = window.rev().max_by_key(|place| plane[*place]).unwrap_or(0);
                values.push(f32::from(plane[best]) / 255.0);
                places.push(best as i64);
            }
        }
    }
    (values, places)
}

/// One of the operations, ready to be applied to any input of a load.
trait Operation<P>: Send + Sync {
    fn apply(&self, number: usize, input: &[P], join: &dyn Join, output: &mut [P]);

    /// Whether `output[at]` is what the definition says, or else what it should be. `None` as the place: all of it.
    fn check(&self, number: usize, input: &[P], output: &[P], at: Option<usize>) -> Result<(), String>;

    /// Whether all of it is checked at once.
    fn whole(&self) -> bool {
        false
    }
}

impl Load {
    /// The operations that both types of pixels have.
    fn moving<P: Oracle>(&self, output: Shape) -> Result<Box<dyn Operation<P>>, BadInput> {
        let source = (self.input.height, self.input.width);
        Ok(if self.operation == "interpolate" {
            let bytes = P::NAME == "u8";
            Box::new(Interpolating {
                interpolation: Interpolation::<P>::new(source, &self.resize)?,
                definition: Definition::new(source, (output.height, output.width), &self.resize, bytes),
                nearest: matches!(self.resize.mode, Mode::Nearest | Mode::NearestExact),
                source,
            })
        } else {
            Box::new(Shuffling {
                input: self.input,
                output,
                factor: self.whole,
                inverse: self.operation == "pixel_unshuffle",
            })
        })
    }
}

struct Interpolating<P: Pixel> {
    interpolation: Interpolation<P>,
    definition: Definition,
    nearest: bool,
    source: (usize, usize),
}

/// How a pixel is held against the definition.
trait Oracle: Pixel {
    fn agrees(self, definition: &Definition, plane: &[Self], y: usize, x: usize) -> Result<(), String>;

    /// Its bits.
    fn word(self) -> u64;
}

impl Oracle for f32 {
    fn agrees(self, definition: &Definition, plane: &[f32], y: usize, x: usize) -> Result<(), String> {
        let expected = definition.real(plane, y, x);
        // Inputs are light from 0 to 1.
        let allowed = definition::allowance(definition.side(), 1.0);
        if (f64::from(self) - expected).abs() <= allowed {
            Ok(())
        } else {
            Err(format!("{self}, but by definition {expected} within {allowed:e}"))
        }
    }

    fn word(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Oracle for u8 {
    fn agrees(self, definition: &Definition, plane: &[u8], y: usize, x: usize) -> Result<(), String> {
        let expected = definition.byte(plane, y, x);
        if self == expected {
            Ok(())
        } else {
            Err(format!("{self}, but by definition {expected}"))
        }
    }

    fn word(self) -> u64 {
        u64::from(self)
    }
}

impl<P: Oracle> Operation<P> for Interpolating<P> {
    fn apply(&self, _: usize, input: &[P], join: &dyn Join, output: &mut [P]) {
        self.interpolation.apply_into(join, input, output);
    }

    fn check(&self, _: usize, input: &[P], output: &[P], at: Option<usize>) -> Result<(), String> {
        let at = at.unwrap_or(0);
        let (height, width) = self.interpolation.output();
        let (plane, y, x) = (at / (height * width), at / width % height, at % width);
        let source = self.source.0 * self.source.1;
        let plane = &input[plane * source..][..source];
        if !self.nearest {
            return output[at].agrees(&self.definition, plane, y, x);
        }
        if self.definition.is_near(plane, y, x, output[at]) {
            Ok(())
        } else {
            Err(format!("{:?}, which is no pixel near it", output[at]))
        }
    }
}

struct Shuffling {
    input: Shape,
    output: Shape,
    factor: usize,
    inverse: bool,
}

impl<P: Oracle> Operation<P> for Shuffling {
    fn apply(&self, _: usize, input: &[P], join: &dyn Join, output: &mut [P]) {
        if self.inverse {
            pixel_unshuffle_into(join, input, self.input, self.factor, output);
        } else {
            pixel_shuffle_into(join, input, self.input, self.factor, output);
        }
    }

    fn check(&self, _: usize, input: &[P], output: &[P], _: Option<usize>) -> Result<(), String> {
        // The inverse is checked as a shuffle from the output to the input.
        let (small, small_shape, large, large_shape) = if self.inverse {
            (output, self.output, input, self.input)
        } else {
            (input, self.input, output, self.output)
        };
        for (at, value) in large.iter().enumerate() {
            let from = definition::shuffled_from(small_shape, self.factor, large_shape, at);
            if small[from].word() != value.word() {
                return Err(format!(
                    "{value:?} at {at} of the larger image and {:?} at {from}",
                    small[from]
                ));
            }
        }
        Ok(())
    }

    fn whole(&self) -> bool {
        true
    }
}

struct Unpooling {
    indices: Vec<Vec<i64>>,
    /// Values of an input plane.
    taken: usize,
}

impl Operation<f32> for Unpooling {
    fn apply(&self, number: usize, input: &[f32], join: &dyn Join, output: &mut [f32]) {
        max_unpool_into(join, input, &self.indices[number], self.taken, output)
            .unwrap_or_else(|stray| unreachable!("a pooling's own index is no pixel: {stray:?}"));
    }

    fn check(&self, number: usize, input: &[f32], output: &[f32], _: Option<usize>) -> Result<(), String> {
        let plane = output.len() / (input.len() / self.taken);
        match definition::unpooled(input, &self.indices[number], self.taken, plane) {
            Ok(expected) if expected == output => Ok(()),
            Ok(_) => Err("not the values in their places".to_owned()),
            Err(stray) => Err(format!("{stray:?}")),
        }
    }

    fn whole(&self) -> bool {
        true
    }
}

struct Transposing {
    convolution: TransposedConvolution,
    input: Shape,
    output: Shape,
    kernel: KernelShape,
    weight: Vec<f32>,
    bias: Vec<f32>,
    how: Transposition,
}

impl Operation<f32> for Transposing {
    fn apply(&self, _: usize, input: &[f32], join: &dyn Join, output: &mut [f32]) {
        self.convolution.apply_into(join, input, output);
    }

    fn check(&self, _: usize, input: &[f32], output: &[f32], at: Option<usize>) -> Result<(), String> {
        let at = at.unwrap_or(0);
        let (x, rest) = (at % self.output.width, at / self.output.width);
        let (y, rest) = (rest % self.output.height, rest / self.output.height);
        let (channel, image) = (rest % self.output.channels, rest / self.output.channels);
        let (sum, size, terms) = definition::convolved(
            (self.input, input),
            (self.kernel, &self.weight),
            &self.how,
            [image, channel, y, x],
        );
        let bias = f64::from(self.bias[channel]);
        let allowed = (size + bias.abs()) * (terms + 2) as f64 * 2.0f64.powi(-24);
        let (got, expected) = (f64::from(output[at]), sum + bias);
        if (got - expected).abs() <= allowed {
            Ok(())
        } else {
            Err(format!("{got}, but by definition {expected} within {allowed:e}"))
        }
    }
}

/// A load's images and what is done to them.
struct Tasks<P> {
    inputs: Vec<Vec<P>>,
    output: Shape,
    operation: Box<dyn Operation<P>>,
    /// Outputs of tasks that are done, for tasks to come: as many as ever ran at once.
    shelf: Mutex<Vec<Vec<P>>>,
    done: AtomicU64,
}

/// Pixels held against the definition where that is costly.
const SAMPLES: usize = 4096;

impl<P: Oracle> Tasks<P> {
    fn new(inputs: Vec<Vec<P>>, output: Shape, operation: Box<dyn Operation<P>>) -> Tasks<P> {
        Tasks {
            inputs,
            output,
            operation,
            shelf: Mutex::new(Vec::new()),
            done: AtomicU64::new(0),
        }
    }

    fn number(&self, task: u64) -> usize {
        (task % self.inputs.len() as u64) as usize
    }

    /// Does the task in a buffer of the shelf and hands the output to `then`.
    fn with_output<R>(&self, task: u64, join: &dyn Join, then: impl FnOnce(&[P]) -> R) -> R {
        let shelved = self.shelf.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut output = shelved.unwrap_or_else(|| zeros(self.output.count()));
        let number = self.number(task);
        self.operation.apply(number, &self.inputs[number], join, &mut output);
        let result = then(&output);
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).push(output);
        result
    }

    fn answer(&self, digest: u64) -> Answer {
        let Shape {
            channels,
            height,
            width,
            ..
        } = self.output;
        Answer {
            text: format!("{channels} x {height} x {width} {}, digest {digest:016x}", P::NAME),
            words: vec![self.output.count() as u64, digest],
        }
    }
}

/// Values that one digest is made of.
const DIGESTED: usize = 1 << 15;

/// The digest over the digests of pieces of fixed length, so that forking changes nothing. Four lanes, since
/// each step of a digest waits for the one before.
fn digest<P: Oracle>(join: &dyn Join, values: &[P]) -> u64 {
    let mut digests = vec![0u64; values.len().div_ceil(DIGESTED)];
    for_each_run(join, &mut digests, 1, &|first, digests| {
        for (number, digest) in digests.iter_mut().enumerate() {
            let from = (first + number) * DIGESTED;
            let piece = &values[from..values.len().min(from + DIGESTED)];
            let mut lanes = [0; 4].map(|_: i32| Digest::new());
            let (rounds, rest) = piece.as_chunks::<8>();
            for round in rounds {
                for (lane, pair) in lanes.iter_mut().zip(round.as_chunks::<2>().0) {
                    lane.push(pair[0].word() | pair[1].word() << 32);
                }
            }
            for value in rest {
                lanes[0].push(value.word());
            }
            *digest = Digest::of(lanes.iter().map(Digest::value));
        }
    });
    Digest::of(digests)
}

impl<P: Oracle> Prepared for Tasks<P> {
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        let digest = self.with_output(task, join, |output| digest(join, output));
        // Relaxed: a tally that stands alone.
        self.done.fetch_add(1, Ordering::Relaxed);
        self.answer(digest)
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let mismatch = |message: String| Err(Mismatch { task, message });
        let number = self.number(task);
        let input = &self.inputs[number];
        self.with_output(task, &crate::Sequential, |output| {
            let again = self.answer(digest(&crate::Sequential, output));
            if again != *answer {
                return mismatch(format!("{}, but on one thread {}", answer.text, again.text));
            }
            if self.operation.whole() {
                return self.operation.check(number, input, output, None).or_else(mismatch);
            }
            let mut random = Random::new(task, 1 << 32);
            let last = output.len() - 1;
            for sample in 0..SAMPLES.min(output.len()) {
                let at = match sample {
                    0 => 0,
                    1 => last,
                    _ => random.below(output.len() as u64) as usize,
                };
                if let Err(why) = self.operation.check(number, input, output, Some(at)) {
                    return mismatch(format!("value {at} of the output is {why}"));
                }
            }
            Ok(())
        })
    }

    fn facts(&self) -> Vec<Fact> {
        let done = self.done.load(Ordering::Relaxed) as f64;
        let shelved = self.shelf.lock().unwrap_or_else(PoisonError::into_inner).len();
        vec![
            Fact {
                name: "output_values",
                unit: "values",
                meaning: "values that all tasks together have made",
                value: done * self.output.count() as f64,
            },
            Fact {
                name: "output_buffers",
                unit: "buffers",
                meaning: "output buffers that were made; tasks beyond these used one again",
                value: shelved as f64,
            },
        ]
    }
}
