//! The JSON door: one operation with PyTorch's parameters, and its refusals.

use serde_json::{Map, Value, json};

use super::axis::Mode;
use super::images::Shape;
use super::interpolation::{self, Interpolation, Resize, Target, resized};
use super::rows::Pixel;
use super::shuffle::{pixel_shuffle, pixel_shuffled, pixel_unshuffle, pixel_unshuffled};
use super::transposed::{self, KernelShape, TransposedConvolution, Transposition};
use super::unpool::{Pooling, max_unpool, unpooled};
use crate::json::{Case, kind, nested};
use crate::{BadInput, Join};

/// What a case may take while it is worked on.
const MOST_BYTES: u64 = 1 << 30;
/// What an output value takes: itself, its place in the answer, and the answer's text.
const ANSWER_BYTES: u64 = 64;

/// Runs at once whose working memory counts, whatever the pool: what is refused must not depend on it.
const RUNS: u64 = 16;

pub(super) const OPERATIONS: [&str; 5] = [
    "interpolate",
    "pixel_shuffle",
    "pixel_unshuffle",
    "max_unpool2d",
    "conv_transpose2d",
];

pub(super) const MODES: [Mode; 4] = [Mode::Nearest, Mode::NearestExact, Mode::Bilinear, Mode::Bicubic];

/// Answers one case.
pub(super) fn solve(input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
    let case = Case::open(input, &["op", "params", "input", "weight", "bias", "indices", "dtype"])?;
    let operation = OPERATIONS[case.choice("op", &OPERATIONS)?];
    let none = Value::Object(Map::new());
    let params = case.optional("params").unwrap_or(&none);
    for (field, owner) in [
        ("weight", "conv_transpose2d"),
        ("bias", "conv_transpose2d"),
        ("indices", "max_unpool2d"),
    ] {
        if operation != owner && case.optional(field).is_some() {
            return Err(BadInput::new(
                field,
                format!("is for {owner}; leave it out for {operation}"),
            ));
        }
    }
    let bytes = match case.optional("dtype") {
        None => false,
        Some(_) => case.choice("dtype", &["f32", "u8"])? == 1,
    };
    if bytes && matches!(operation, "max_unpool2d" | "conv_transpose2d") {
        return Err(BadInput::new(
            "dtype",
            format!("{operation} is not defined for u8; give f32"),
        ));
    }
    let images = images(&case, operation == "interpolate")?;
    match operation {
        "interpolate" if bytes => interpolate::<u8>(params, &images, join),
        "interpolate" => interpolate::<f32>(params, &images, join),
        "pixel_shuffle" | "pixel_unshuffle" if bytes => shuffle::<u8>(operation, params, &images, join),
        "pixel_shuffle" | "pixel_unshuffle" => shuffle::<f32>(operation, params, &images, join),
        "max_unpool2d" => unpool(&case, params, &images, join),
        _ => transpose(&case, params, &images, join),
    }
}

/// The images of a case.
struct Images {
    shape: Shape,
    values: Vec<f64>,
    /// Without the batch's level, as PyTorch allows it for all but `interpolate`.
    single: bool,
}

/// A pixel as JSON has it.
trait Told: Pixel {
    fn of(value: f64) -> Option<Self>;
    const WANTED: &'static str;
    fn answer(shape: &[usize], values: &[Self]) -> Value;
}

impl Told for f32 {
    const WANTED: &'static str = "give a number";

    fn of(value: f64) -> Option<f32> {
        Some(value as f32)
    }

    fn answer(shape: &[usize], values: &[f32]) -> Value {
        let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        nested(shape, &values)
    }
}

impl Told for u8 {
    const WANTED: &'static str = "give a whole number from 0 to 255";

    fn of(value: f64) -> Option<u8> {
        ((0.0..=255.0).contains(&value) && value.fract() == 0.0).then_some(value as u8)
    }

    fn answer(shape: &[usize], values: &[u8]) -> Value {
        let Some((length, inner)) = shape.split_first() else {
            return values.first().map_or(Value::Null, |value| Value::from(*value));
        };
        let step: usize = inner.iter().product();
        let part = |at: usize| u8::answer(inner, &values[at * step..][..step]);
        Value::Array((0..*length).map(part).collect())
    }
}

fn images(case: &Case<'_>, batch_needed: bool) -> Result<Images, BadInput> {
    let single = !batch_needed && case.optional("input").is_some_and(|input| depth(input) == 3);
    let (lengths, values) = case.tensor("input", if single { 3 } else { 4 })?;
    let shape = match lengths[..] {
        [channels, height, width] => Shape::new(1, channels, height, width),
        [images, channels, height, width] => Shape::new(images, channels, height, width),
        _ => unreachable!("a tensor has the rank that was asked for"),
    };
    if shape.images == 0 {
        return Err(BadInput::new("input", "is empty; give at least one image"));
    }
    Ok(Images { shape, values, single })
}

/// How deep arrays are nested, by the first of each.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.first().map_or(0, depth),
        _ => 0,
    }
}

impl Images {
    fn pixels<P: Told>(&self) -> Result<Vec<P>, BadInput> {
        self.values
            .iter()
            .enumerate()
            .map(|(at, value)| {
                P::of(*value).ok_or_else(|| {
                    BadInput::new(
                        "input",
                        format!("element {at} (counted in order) is {value}; {}", P::WANTED),
                    )
                })
            })
            .collect()
    }

    fn answer<P: Told>(&self, shape: Shape, values: &[P]) -> Value {
        let lengths = shape.lengths();
        let lengths = if self.single { &lengths[1..] } else { &lengths[..] };
        json!({ "output": P::answer(lengths, values) })
    }
}

/// Refuses what would take too much, before it is taken.
fn affordable(field: &str, output: Shape, beside: u64) -> Result<(), BadInput> {
    let bytes = (output.count() as u64)
        .saturating_mul(ANSWER_BYTES)
        .saturating_add(beside);
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    Err(BadInput::new(
        field,
        format!(
            "makes an output of {} x {} x {} x {} values, which takes {} MiB of memory to work on and to print; a case may take {} MiB",
            output.images,
            output.channels,
            output.height,
            output.width,
            bytes >> 20,
            MOST_BYTES >> 20
        ),
    ))
}

fn interpolate<P: Told>(params: &Value, images: &Images, join: &dyn Join) -> Result<Value, BadInput> {
    let params = Case::open(
        params,
        &[
            "size",
            "scale_factor",
            "mode",
            "align_corners",
            "recompute_scale_factor",
            "antialias",
        ],
    )?;
    let shape = images.shape;
    if shape.count() == 0 {
        return Err(BadInput::new(
            "input",
            format!(
                "has {} channels of {} x {} pixels; give at least one of each",
                shape.channels, shape.height, shape.width
            ),
        ));
    }
    let mode = match params.optional("mode") {
        None => Mode::Nearest,
        Some(_) => MODES[params.choice("mode", &MODES.map(Mode::name))?],
    };
    let nearest = matches!(mode, Mode::Nearest | Mode::NearestExact);
    if nearest && params.optional("align_corners").is_some() {
        return Err(BadInput::new(
            "align_corners",
            format!(
                "can be set for bilinear and bicubic only; leave it out for {}",
                mode.name()
            ),
        ));
    }
    let recomputed = flag(&params, "recompute_scale_factor")?;
    let size = params.optional("size");
    let target = match (size, params.optional("scale_factor")) {
        (Some(_), Some(_)) => {
            return Err(BadInput::new(
                "scale_factor",
                "is given beside `size`; only one of them can be",
            ));
        }
        (None, None) => {
            return Err(BadInput::new(
                "size",
                "is missing, as is `scale_factor`; give one of them",
            ));
        }
        (Some(_), None) if recomputed => {
            return Err(BadInput::new(
                "recompute_scale_factor",
                "means nothing with an explicit `size`; give `scale_factor` or leave it out",
            ));
        }
        (Some(size), None) => {
            let [height, width] = integers("size", size, Lone::Spread)?.map(|side| usize::try_from(side).unwrap_or(0));
            Target::Size(height, width)
        }
        (None, Some(factor)) => {
            let [height, width] = factors(factor)?;
            Target::Factor {
                height,
                width,
                recomputed,
            }
        }
    };
    let resize = Resize {
        mode,
        target,
        align_corners: flag(&params, "align_corners")?,
        antialias: flag(&params, "antialias")?,
    };
    let source = (shape.height, shape.width);
    let (height, width) = resized(source, &resize)?;
    let output = Shape { height, width, ..shape };
    affordable(
        if size.is_some() { "size" } else { "scale_factor" },
        output,
        interpolation::table_bytes::<P>(source, &resize)?,
    )?;
    let made = Interpolation::<P>::new(source, &resize)?.apply(join, &images.pixels::<P>()?);
    Ok(images.answer(output, &made))
}

/// false, also for `null`.
fn flag(params: &Case<'_>, name: &str) -> Result<bool, BadInput> {
    match params.optional(name) {
        None => Ok(false),
        Some(_) => params.flag(name),
    }
}

/// What an array of one value means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lone {
    /// The value for both, as for a plain number.
    Both,
    /// Nothing: only the plain number is both.
    Spread,
}

/// A whole number for height and width, or an array of both.
fn integers(name: &str, value: &Value, lone: Lone) -> Result<[i64; 2], BadInput> {
    let whole = |value: &Value| {
        value.as_i64().ok_or_else(|| {
            let what = match value {
                Value::Number(number) => number.to_string(),
                other => kind(other).to_owned(),
            };
            BadInput::new(
                name,
                format!("is {what}; give a whole number, or two for height and width"),
            )
        })
    };
    match value.as_array().map(Vec::as_slice) {
        None => Ok([whole(value)?; 2]),
        Some([both]) if lone == Lone::Both => Ok([whole(both)?; 2]),
        Some([height, width]) => Ok([whole(height)?, whole(width)?]),
        Some(other) => Err(BadInput::new(
            name,
            format!(
                "holds {} values; give a whole number, or two for height and width",
                other.len()
            ),
        )),
    }
}

fn factors(value: &Value) -> Result<[f64; 2], BadInput> {
    let field = "scale_factor";
    let factor = |value: &Value| match value.as_f64() {
        Some(factor) if factor > 0.0 => Ok(factor),
        Some(factor) => Err(BadInput::new(field, format!("is {factor}; give a number above 0"))),
        None => Err(BadInput::new(
            field,
            format!("is {}; give a number above 0, or two for height and width", kind(value)),
        )),
    };
    match value.as_array().map(Vec::as_slice) {
        None => Ok([factor(value)?; 2]),
        Some([height, width]) => Ok([factor(height)?, factor(width)?]),
        Some(other) => Err(BadInput::new(
            field,
            format!(
                "holds {} values; give a number, or two for height and width",
                other.len()
            ),
        )),
    }
}

fn shuffle<P: Told>(operation: &str, params: &Value, images: &Images, join: &dyn Join) -> Result<Value, BadInput> {
    let up = operation == "pixel_shuffle";
    let field = if up { "upscale_factor" } else { "downscale_factor" };
    let params = Case::open(params, &[field])?;
    let factor = params.integer(field)?;
    let factor = usize::try_from(factor)
        .ok()
        .filter(|factor| *factor > 0)
        .ok_or_else(|| BadInput::new(field, format!("is {factor}; give at least 1")))?;
    let input = images.shape;
    let output = if up {
        pixel_shuffled(input, factor)?
    } else {
        pixel_unshuffled(input, factor)?
    };
    affordable(field, output, 0)?;
    let pixels = images.pixels::<P>()?;
    let (_, made) = if up {
        pixel_shuffle(join, &pixels, input, factor)?
    } else {
        pixel_unshuffle(join, &pixels, input, factor)?
    };
    Ok(images.answer(output, &made))
}

fn unpool(case: &Case<'_>, params: &Value, images: &Images, join: &dyn Join) -> Result<Value, BadInput> {
    let params = Case::open(params, &["kernel_size", "stride", "padding", "output_size"])?;
    let input = images.shape;
    if input.count() == 0 {
        return Err(BadInput::new(
            "input",
            format!(
                "has {} channels of {} x {} pixels; give at least one of each",
                input.channels, input.height, input.width
            ),
        ));
    }
    let kernel = match params.optional("kernel_size") {
        Some(kernel) => integers("kernel_size", kernel, Lone::Spread)?,
        // Refused, as missing.
        None => [params.integer("kernel_size")?; 2],
    };
    let pair = |name: &str, default: [i64; 2]| match params.optional(name) {
        None => Ok(default),
        Some(value) => integers(name, value, Lone::Spread),
    };
    let pooling = Pooling {
        kernel,
        stride: pair("stride", kernel)?,
        padding: pair("padding", [0; 2])?,
    };
    let size = match params.optional("output_size") {
        None => None,
        Some(_) => match params.integers("output_size")?[..] {
            // The lengths of the whole output may be given: the first two are of no account.
            [height, width] | [_, _, height, width] => Some([height, width]),
            ref other => {
                return Err(BadInput::new(
                    "output_size",
                    format!("holds {} values; give two, height and width, or four", other.len()),
                ));
            }
        },
    };
    let output = unpooled(input, &pooling, size)?;
    affordable(if size.is_some() { "output_size" } else { "kernel_size" }, output, 0)?;
    let (lengths, indices) = case.tensor("indices", if images.single { 3 } else { 4 })?;
    let own = input.lengths();
    let own = if images.single { &own[1..] } else { &own[..] };
    if lengths != own {
        return Err(BadInput::new(
            "indices",
            format!("has the lengths {lengths:?}; it must have those of the input, {own:?}"),
        ));
    }
    let mut whole = Vec::with_capacity(indices.len());
    for (at, index) in indices.iter().enumerate() {
        // Whole numbers beyond 2^53 are no pixels of any output either.
        if index.fract() != 0.0 || index.abs() > 9.0e15 {
            return Err(BadInput::new(
                "indices",
                format!("element {at} (counted in order) is {index}; give a whole number"),
            ));
        }
        whole.push(*index as i64);
    }
    let made = max_unpool(join, &images.pixels::<f32>()?, &whole, input.plane(), output.plane())?;
    Ok(images.answer(output, &made))
}

fn transpose(case: &Case<'_>, params: &Value, images: &Images, join: &dyn Join) -> Result<Value, BadInput> {
    let params = Case::open(params, &["stride", "padding", "output_padding", "dilation", "groups"])?;
    let pair = |name: &str, least: i64| match params.optional(name) {
        None => Ok([least as usize; 2]),
        Some(value) => {
            let given = integers(name, value, Lone::Both)?;
            match given.map(usize::try_from) {
                [Ok(height), Ok(width)] if given.iter().all(|given| *given >= least) => Ok([height, width]),
                _ => Err(BadInput::new(
                    name,
                    format!("is {}; give at least {least}", given[0].min(given[1])),
                )),
            }
        }
    };
    let groups = match params.optional("groups") {
        None => 1,
        Some(_) => {
            let groups = params.integer("groups")?;
            usize::try_from(groups)
                .ok()
                .filter(|groups| *groups > 0)
                .ok_or_else(|| BadInput::new("groups", format!("is {groups}; give at least 1")))?
        }
    };
    let how = Transposition {
        stride: pair("stride", 1)?,
        padding: pair("padding", 0)?,
        output_padding: pair("output_padding", 0)?,
        dilation: pair("dilation", 1)?,
        groups,
    };
    let (lengths, weight) = case.tensor("weight", 4)?;
    let kernel = KernelShape {
        inputs: lengths[0],
        outputs: lengths[1],
        height: lengths[2],
        width: lengths[3],
    };
    let output = transposed::transposed(images.shape, kernel, &how)?;
    let bias = match case.optional("bias") {
        None => None,
        Some(_) => Some(narrowed(&case.numbers("bias")?)),
    };
    if let Some(bias) = &bias
        && bias.len() != output.channels
    {
        return Err(BadInput::new(
            "bias",
            format!(
                "holds {} values; give one for each of the {} output channels",
                bias.len(),
                output.channels
            ),
        ));
    }
    // What makes the output as large as it is.
    let reach = |axis: usize, kernel: usize| (kernel - 1).saturating_mul(how.dilation[axis]);
    let far = reach(0, kernel.height).max(reach(1, kernel.width));
    let steps = (images.shape.height - 1)
        .saturating_mul(how.stride[0])
        .max((images.shape.width - 1).saturating_mul(how.stride[1]));
    let field = if far > steps { "dilation" } else { "stride" };
    affordable(field, output, 0)?;
    let (tables, thread) = transposed::bytes(images.shape, kernel, &how)?;
    affordable(field, output, tables.saturating_add(thread.saturating_mul(RUNS)))?;
    let convolution = TransposedConvolution::new(images.shape, kernel, &narrowed(&weight), bias.as_deref(), &how)?;
    let made = convolution.apply(join, &images.pixels::<f32>()?);
    Ok(images.answer(output, &made))
}

fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}
