//! The JSON door: conversions, loss scaling, a product, a training.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::course::{Mode, convolution_net, for_mode, perceptron};
use super::digits::{Digits, IMAGES, TEST_IMAGES};
use super::format::{Format, Stored};
use super::workload::task_bytes;
use super::{Classifier, Course, LossScale, MOST_SHARDS, Model, Optimizer, POLICY, Settings, Width, accuracy, correct};
use crate::digest::Digest;
use crate::json::{Case, kind, nested, told};
use crate::linear::{Element, Matrix, MatrixMut, Real, multiply};
use crate::{BadInput, Join};

/// Working memory that a case may ask for.
const MOST_BYTES: u64 = 1 << 30;

const OPS: &[&str] = &["convert", "loss_scale", "matmul", "train"];

pub(super) fn solve(input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
    // `op` decides which fields there are, so it is read first.
    let Value::Object(fields) = input else {
        return Case::open(input, &["op"]).map(|_| Value::Null);
    };
    let mut op = serde_json::Map::new();
    if let Some(value) = fields.get("op") {
        op.insert("op".to_owned(), value.clone());
    }
    match Case::open(&Value::Object(op), &["op"])?.choice("op", OPS)? {
        0 => converted(&Case::open(input, &["op", "from", "to", "bits"])?),
        1 => scaled(&Case::open(
            input,
            &[
                "op",
                "init",
                "growth_factor",
                "backoff_factor",
                "growth_interval",
                "overflow",
            ],
        )?),
        2 => multiplied(&Case::open(input, &["op", "a", "b", "storage", "accumulate"])?, join),
        _ => trained(
            &Case::open(
                input,
                &[
                    "op",
                    "data",
                    "model",
                    "mode",
                    "seed",
                    "epochs",
                    "hidden",
                    "batch",
                    "shards",
                    "optimizer",
                    "rate",
                    "loss_scaling",
                    "init",
                    "growth_factor",
                    "backoff_factor",
                    "growth_interval",
                ],
            )?,
            join,
        ),
    }
}

const FORMATS: [Format; 4] = [Format::F64, Format::F32, Format::F16, Format::BF16];

fn format(case: &Case<'_>, name: &str) -> Result<Format, BadInput> {
    Ok(FORMATS[case.choice(name, Mode::NAMES)?])
}

/// `{"op":"convert","from","to","bits":["hex",...]}` to `{"bits"}`: written as they came, with `0x` or
/// without.
fn converted(case: &Case<'_>) -> Result<Value, BadInput> {
    let (from, to) = (format(case, "from")?, format(case, "to")?);
    let Some(Value::Array(given)) = case.optional("bits") else {
        return Err(BadInput::new(
            "bits",
            "wants an array of hexadecimal texts, as [\"3c00\"]",
        ));
    };
    let mut bits = Vec::with_capacity(given.len());
    for (at, value) in given.iter().enumerate() {
        let refuse = |what: String| {
            let digits = from.bits() / 4;
            Err(BadInput::new(
                "bits",
                format!("element {at} is {what}; give a text of 1 to {digits} hexadecimal digits"),
            ))
        };
        let Value::String(text) = value else {
            return refuse(kind(value).to_owned());
        };
        let stripped = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let digits = stripped.unwrap_or(text);
        let hexadecimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hexadecimal || digits.len() > (from.bits() / 4) as usize {
            return refuse(format!("`{}`", text.chars().take(40).collect::<String>()));
        }
        let parsed = u64::from_str_radix(digits, 16).unwrap_or(0);
        let mut written = String::with_capacity(18);
        if stripped.is_some() {
            written.push_str("0x");
        }
        let width = (to.bits() / 4) as usize;
        let _ = write!(written, "{:0width$x}", from.convert(parsed, to));
        bits.push(written);
    }
    Ok(json!({ "bits": bits }))
}

/// The scaler that a case describes; PyTorch's where it says nothing.
fn loss_scale(case: &Case<'_>, default_interval: i64) -> Result<LossScale, BadInput> {
    let init = case.number_or("init", 65536.0)?;
    // Written so that NaN is refused too.
    if !(init as f32 > 0.0 && (init as f32).is_finite()) {
        return Err(BadInput::new("init", format!("is {init}; give an f32 above 0")));
    }
    let growth = case.number_or("growth_factor", 2.0)?;
    if !(growth > 1.0 && growth.is_finite()) {
        return Err(BadInput::new("growth_factor", format!("is {growth}; give more than 1")));
    }
    let backoff = case.number_or("backoff_factor", 0.5)?;
    if !(backoff > 0.0 && backoff < 1.0) {
        return Err(BadInput::new(
            "backoff_factor",
            format!("is {backoff}; give more than 0 and less than 1"),
        ));
    }
    let interval = integer_or(case, "growth_interval", default_interval, 1, i64::MAX)?;
    Ok(LossScale::new(init as f32, growth, backoff, interval as u64))
}

fn integer_or(case: &Case<'_>, name: &str, default: i64, least: i64, most: i64) -> Result<i64, BadInput> {
    let value = match case.optional(name) {
        None => default,
        Some(_) => case.integer(name)?,
    };
    if !(least..=most).contains(&value) {
        return Err(BadInput::new(
            name,
            format!("is {value}; give a whole number from {least} to {most}"),
        ));
    }
    Ok(value)
}

/// `{"op":"loss_scale",...,"overflow":[0,1,...]}` to scale and growth tracker after each step, and how
/// many steps the optimizer took.
fn scaled(case: &Case<'_>) -> Result<Value, BadInput> {
    let mut scaler = loss_scale(case, 2000)?;
    let overflow = case.integers("overflow")?;
    let (mut scales, mut trackers, mut steps) = (Vec::new(), Vec::new(), 0);
    for (at, overflow) in overflow.iter().enumerate() {
        if !(0..=1).contains(overflow) {
            return Err(BadInput::new(
                "overflow",
                format!("element {at} is {overflow}; give 1 for a step that overflowed and 0 for one that did not"),
            ));
        }
        scaler.update(*overflow == 1);
        scales.push(told(f64::from(scaler.scale())));
        trackers.push(scaler.growth_tracker());
        steps += 1 - overflow;
    }
    Ok(json!({ "scale": scales, "growth_tracker": trackers, "optimizer_steps": steps }))
}

/// A matrix of a case.
struct Given {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

/// `{"op":"matmul","a","b","storage","accumulate"}` to `{"output"}`: a and b are rounded to `storage`
/// once, products are added in `accumulate`, and the sums are the output.
fn multiplied(case: &Case<'_>, join: &dyn Join) -> Result<Value, BadInput> {
    let matrix = |name| {
        let (shape, values) = case.tensor(name, 2)?;
        Ok::<Given, BadInput>(Given {
            rows: shape[0],
            columns: shape[1],
            values,
        })
    };
    let (a, b) = (matrix("a")?, matrix("b")?);
    let storage = case.choice("storage", Mode::NAMES)?;
    let mode = Mode::named(Mode::NAMES[storage]).unwrap_or(Mode::F64);
    let accumulate = match case.optional("accumulate") {
        None if mode == Mode::F64 => 0,
        None => 1,
        Some(_) => case.choice("accumulate", Mode::NAMES)?,
    };
    if a.columns != b.rows {
        return Err(BadInput::new(
            "b",
            format!(
                "has {} rows but a has {} columns; the product wants as many",
                b.rows, a.columns
            ),
        ));
    }
    let bytes = (a.rows as u64).saturating_mul(b.columns as u64).saturating_mul(64);
    if bytes > MOST_BYTES {
        return Err(BadInput::new(
            "a",
            format!(
                "and b have a product of {} by {} values, over 1 GiB; give smaller matrices",
                a.rows, b.columns
            ),
        ));
    }
    // A narrower sum than the storage type would hide what is asked for.
    let fits = match mode {
        Mode::F64 => accumulate == 0,
        Mode::F32 => accumulate < 2,
        Mode::F16 | Mode::Bf16 => accumulate < 2 || accumulate == storage,
    };
    if !fits {
        return Err(BadInput::new(
            "accumulate",
            format!(
                "is {}, which does not hold the sums of {}; give {}",
                Mode::NAMES[accumulate],
                mode.name(),
                match mode {
                    Mode::F64 => "`f64`".to_owned(),
                    Mode::F32 => "`f32` or `f64`".to_owned(),
                    half => format!("`f32`, `f64` or `{}`", half.name()),
                }
            ),
        ));
    }
    let output = for_mode!(mode, T => match accumulate {
        _ if accumulate == storage && mode.is_half() => rounded_product::<T>(&a, &b),
        _ if (accumulate == 0) == (size_of::<<T as Element>::Sum>() == 8) => product::<T>(&a, &b, join),
        _ => product::<f64>(&a.rounded::<T>(), &b.rounded::<T>(), join),
    });
    Ok(json!({ "output": nested(&[a.rows, b.columns], &output) }))
}

impl Given {
    fn rounded<T: Stored>(&self) -> Given {
        let values = self.values.iter().map(|value| T::nearest(*value).wide().to_f64());
        Given {
            values: values.collect(),
            ..*self
        }
    }
}

fn product<T: Stored>(a: &Given, b: &Given, join: &dyn Join) -> Vec<f64> {
    let stored = |given: &Given| -> Vec<T> { given.values.iter().map(|value| T::nearest(*value)).collect() };
    let mut sums = vec![T::Sum::default(); a.rows * b.columns];
    multiply(
        join,
        T::Sum::of(1.0),
        Matrix::dense(&stored(a), a.rows, a.columns),
        Matrix::dense(&stored(b), b.rows, b.columns),
        T::Sum::of(0.0),
        MatrixMut::dense(&mut sums, a.rows, b.columns),
    );
    sums.into_iter().map(Real::to_f64).collect()
}

/// The sum itself in half width, each product and each sum rounded: what full-width sums are for.
fn rounded_product<T: Stored>(a: &Given, b: &Given) -> Vec<f64> {
    let (a, b) = (a.rounded::<T>(), b.rounded::<T>());
    let round = |value: f64| T::nearest(value).wide().to_f64();
    let mut sums = vec![0.0; a.rows * b.columns];
    for (at, sum) in sums.iter_mut().enumerate() {
        let (row, column) = (at / b.columns, at % b.columns);
        for inner in 0..a.columns {
            let product = a.values[row * a.columns + inner] * b.values[inner * b.columns + column];
            *sum = round(*sum + round(product));
        }
    }
    sums
}

fn trained(case: &Case<'_>, join: &dyn Join) -> Result<Value, BadInput> {
    case.choice("data", &["digits"])?;
    let model = Model::at(case.choice("model", Model::NAMES)?);
    // The long way of naming the modes is understood as well.
    let place = case.choice(
        "mode",
        &[
            "f64",
            "f32",
            "f16",
            "bf16",
            "f16+f32",
            "bf16+f32",
            "f16+f32 master",
            "bf16+f32 master",
        ],
    )?;
    let mode = [Mode::F64, Mode::F32, Mode::F16, Mode::Bf16][if place < 4 { place } else { 2 + place % 2 }];
    let seed = case.integer("seed")? as u64;
    let epochs = integer_or(case, "epochs", 1, 0, 1000)? as usize;
    let hidden = integer_or(case, "hidden", 64, 1, 2048)? as usize;
    let images = (IMAGES - TEST_IMAGES) as i64;
    let batch = integer_or(case, "batch", 64, 1, images)? as usize;
    let shards = integer_or(case, "shards", 1, 1, MOST_SHARDS as i64)? as usize;
    let adam = case.optional("optimizer").is_some() && case.choice("optimizer", &["sgd", "adam"])? == 1;
    let rate = case.number_or("rate", if adam { 0.003 } else { 0.1 })?;
    if !(rate >= 0.0 && rate.is_finite()) {
        return Err(BadInput::new("rate", format!("is {rate}; give a number of at least 0")));
    }
    let scaler = loss_scale(case, 50)?;
    let scaling = case.flag_or("loss_scaling", true)?;
    let settings = Settings {
        model,
        hidden,
        batch,
        shards,
        optimizer: if adam {
            Optimizer::adam(rate)
        } else {
            Optimizer::sgd(rate, 0.9)
        },
        loss_scale: if mode.is_half() && scaling {
            scaler
        } else {
            LossScale::off()
        },
    };
    let bytes = task_bytes(&settings, mode);
    if bytes > MOST_BYTES {
        return Err(BadInput::new(
            "hidden",
            format!("is {hidden}, which with batch and shards takes {bytes} bytes, over 1 GiB; give less"),
        ));
    }
    Ok(for_mode!(mode, T => match model {
        Model::Mlp => report::<T, _>(&perceptron(hidden), &settings, mode, seed, epochs, join),
        Model::Conv => report::<T, _>(&convolution_net(hidden), &settings, mode, seed, epochs, join),
    }))
}

fn report<T: Stored, N: Classifier<T>>(
    network: &N,
    settings: &Settings,
    mode: Mode,
    seed: u64,
    epochs: usize,
    join: &dyn Join,
) -> Value {
    let digits = Digits::unpack();
    let test = digits.samples::<T>(digits.test());
    let mut course = Course::new(&digits, network, settings, seed);
    let (mut losses, mut accuracies, mut scales) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..epochs {
        let steps = course.steps_per_epoch();
        let mut total = 0.0;
        for _ in 0..steps {
            total += course.step(join).loss;
            scales.push(told(f64::from(course.trainer.loss_scale().scale())));
        }
        losses.push(told(total / steps.max(1) as f64));
        accuracies.push(accuracy(network, course.trainer.weights(), &test, join));
    }
    let trainer = &course.trainer;
    let train = digits.samples::<T>(digits.train());
    let right = correct(network, trainer.weights(), &test, join);
    let shards = settings.shards.min(settings.batch);
    let master_bytes = size_of_val(trainer.master());
    let width = |width: Width| match width {
        Width::Storage => T::NAME,
        Width::Sum => T::Sum::NAME,
    };
    let policy: serde_json::Map<String, Value> = POLICY
        .iter()
        .map(|cast| {
            let widths = json!({
                "reads": width(cast.reads), "computes": width(cast.computes), "writes": width(cast.writes),
            });
            (cast.operation.to_owned(), widths)
        })
        .collect();
    json!({
        "model": Model::NAMES[usize::from(settings.model == Model::Conv)],
        "mode": mode.name(),
        "seed": seed as i64,
        "epochs": epochs,
        "parameters": trainer.master().len(),
        "train_images": train.labels.len(),
        "test_images": test.labels.len(),
        "train_accuracy": accuracy(network, trainer.weights(), &train, join),
        "test_accuracy": right as f64 / test.labels.len() as f64,
        "accuracies": accuracies,
        "losses": losses,
        "loss_scale": scales,
        "growth_tracker": trainer.loss_scale().growth_tracker(),
        "overflows": trainer.overflows(),
        "skipped_steps": trainer.skipped_steps(),
        "optimizer_steps": trainer.optimizer_steps(),
        "bytes": {
            "activations": network.activation_bytes() * shards,
            "activations_f32": network.activation_bytes() * shards * 4 / size_of::<T>(),
            "weights": trainer.weight_bytes(),
            "weights_f32": trainer.weight_bytes() * 4 / size_of::<T>(),
            "master": if mode.is_half() { master_bytes } else { 0 },
            "optimizer": master_bytes * settings.optimizer.moments(),
            "allreduce_sent": trainer.allreduce_bytes(),
        },
        "policy": policy,
        "weights_digest": format!(
            "{:016x}",
            Digest::of(trainer.master().iter().map(|weight| weight.to_f64().to_bits()))
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::solve;
    use crate::{MixedPrecision, Workload};

    fn answer(input: &str) -> String {
        solve(&MixedPrecision, input).unwrap()
    }

    #[test]
    fn bits_are_converted_with_one_rounding() {
        for (input, expected) in [
            (
                r#"{"op":"convert","from":"f32","to":"f16","bits":["3f800000","33000000","33000001","477fefff","477ff000","7fc00000","80000000"]}"#,
                r#"{"bits":["3c00","0000","0001","7bff","7c00","7e00","8000"]}"#,
            ),
            (
                // 1 + 2^-11 + 2^-40 is above the middle; by way of f32 it would be on it.
                r#"{"op":"convert","from":"f64","to":"f16","bits":["3ff0020000001000","0x3FF0020000000000"]}"#,
                r#"{"bits":["3c01","0x3c00"]}"#,
            ),
            (
                r#"{"op":"convert","from":"f16","to":"f64","bits":["0001","fc00","1"]}"#,
                r#"{"bits":["3e70000000000000","fff0000000000000","3e70000000000000"]}"#,
            ),
            (
                r#"{"op":"convert","from":"bf16","to":"f32","bits":["3f80","0001"]}"#,
                r#"{"bits":["3f800000","00010000"]}"#,
            ),
            (
                r#"{"op":"convert","from":"bf16","to":"bf16","bits":[]}"#,
                r#"{"bits":[]}"#,
            ),
        ] {
            assert_eq!(answer(input), expected);
        }
    }

    #[test]
    fn the_scaler_is_pytorch_s() {
        assert_eq!(
            answer(
                r#"{"op":"loss_scale","init":65536,"growth_factor":2,"backoff_factor":0.5,"growth_interval":3,"overflow":[1,0,0,0,0,1,0]}"#
            ),
            r#"{"growth_tracker":[0,1,2,0,1,0,1],"optimizer_steps":5,"scale":[32768.0,32768.0,32768.0,65536.0,65536.0,32768.0,32768.0]}"#
        );
        assert_eq!(
            answer(r#"{"op":"loss_scale","overflow":[]}"#),
            r#"{"growth_tracker":[],"optimizer_steps":0,"scale":[]}"#
        );
    }

    #[test]
    fn products_are_summed_in_what_is_asked_for() {
        // 4096 ones: in f16 the sum stays at 2048, where adding 1 rounds to even.
        let ones = vec!["1"; 4096].join(",");
        let column = vec!["[1]"; 4096].join(",");
        let case = |storage: &str, accumulate: &str| {
            answer(&format!(
                r#"{{"op":"matmul","a":[[{ones}]],"b":[{column}],"storage":"{storage}","accumulate":"{accumulate}"}}"#
            ))
        };
        assert_eq!(case("f16", "f32"), r#"{"output":[[4096.0]]}"#);
        assert_eq!(case("f16", "f64"), r#"{"output":[[4096.0]]}"#);
        assert_eq!(case("f16", "f16"), r#"{"output":[[2048.0]]}"#);
        assert_eq!(case("bf16", "bf16"), r#"{"output":[[256.0]]}"#);
        assert_eq!(case("bf16", "f32"), r#"{"output":[[4096.0]]}"#);
        // The operands are rounded, the sums are not: 2049 is 2048 in f16; 2048 + 1 stays.
        assert_eq!(
            answer(r#"{"op":"matmul","a":[[2049,1]],"b":[[1],[1]],"storage":"f16","accumulate":"f32"}"#),
            r#"{"output":[[2049.0]]}"#
        );
        assert_eq!(
            answer(r#"{"op":"matmul","a":[["Infinity","NaN"]],"b":[[1,0],[0,0]],"storage":"bf16"}"#),
            r#"{"output":[["NaN","NaN"]]}"#
        );
        assert_eq!(
            answer(r#"{"op":"matmul","a":[],"b":[],"storage":"f32","accumulate":"f64"}"#),
            r#"{"output":[]}"#
        );
        assert_eq!(
            answer(r#"{"op":"matmul","a":[[0.1]],"b":[[1]],"storage":"f32"}"#),
            r#"{"output":[[0.10000000149011612]]}"#
        );
    }

    #[test]
    fn a_training_reports_accuracies_losses_scales_and_bytes() {
        let train = |mode: &str, model: &str, more: &str| -> Value {
            let input = format!(
                r#"{{"op":"train","data":"digits","model":"{model}","mode":"{mode}","seed":3,"epochs":4{more}}}"#
            );
            serde_json::from_str(&answer(&input)).unwrap()
        };
        let half = train("f16", "mlp", r#","growth_interval":10"#);
        let full = train("f32", "mlp", "");
        assert!(half["test_accuracy"].as_f64().unwrap() > 0.93, "{half}");
        assert_eq!(half["losses"].as_array().unwrap().len(), 4);
        assert_eq!(half["accuracies"].as_array().unwrap().len(), 4);
        let scales = half["loss_scale"].as_array().unwrap();
        assert_eq!(scales.len(), 4 * (1437 / 64));
        assert_eq!((&scales[8], &scales[9]), (&json!(65536.0), &json!(131_072.0)));
        for figure in ["activations", "weights"] {
            let bytes = |report: &Value| report["bytes"][figure].as_u64().unwrap();
            assert_eq!(2 * bytes(&half), bytes(&full));
            assert_eq!(half["bytes"][format!("{figure}_f32")].as_u64().unwrap(), bytes(&full));
        }
        assert_eq!(
            half["policy"]["matmul"],
            json!({"reads": "f16", "computes": "f32", "writes": "f32"})
        );
        assert_eq!(full["loss_scale"].as_array().unwrap().last().unwrap(), 1.0);
        // The long name is the same mode.
        assert_eq!(train("f16+f32 master", "mlp", r#","growth_interval":10"#), half);
        let overflowing = train("f16", "conv", r#","init":1e15"#);
        assert!(overflowing["skipped_steps"].as_u64().unwrap() > 10);
        assert_eq!(overflowing["overflows"], overflowing["skipped_steps"]);
        assert!(overflowing["test_accuracy"].as_f64().unwrap() > 0.8, "{overflowing}");
    }

    #[test]
    fn no_epochs_leave_the_initial_weights() {
        let report = answer(r#"{"op":"train","data":"digits","model":"mlp","mode":"bf16","seed":-1,"epochs":0}"#);
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["losses"], json!([]));
        assert_eq!(report["optimizer_steps"], 0);
        assert_eq!(report["seed"], -1);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let train =
            |more: &str| format!(r#"{{"op":"train","data":"digits","model":"mlp","mode":"f32","seed":1{more}}}"#);
        for (input, field) in [
            ("[]".to_owned(), "input"),
            ("{}".to_owned(), "op"),
            (r#"{"op":"trian"}"#.to_owned(), "op"),
            (r#"{"op":7}"#.to_owned(), "op"),
            (
                r#"{"op":"convert","from":"f8","to":"f16","bits":[]}"#.to_owned(),
                "from",
            ),
            (r#"{"op":"convert","from":"f16","to":"f16"}"#.to_owned(), "bits"),
            (
                r#"{"op":"convert","from":"f16","to":"f16","bits":[15]}"#.to_owned(),
                "bits",
            ),
            (
                r#"{"op":"convert","from":"f16","to":"f16","bits":["12345"]}"#.to_owned(),
                "bits",
            ),
            (
                r#"{"op":"convert","from":"f16","to":"f16","bits":["+1"]}"#.to_owned(),
                "bits",
            ),
            (
                r#"{"op":"convert","from":"f16","to":"f16","bits":[""]}"#.to_owned(),
                "bits",
            ),
            (
                r#"{"op":"convert","from":"f16","to":"f16","bits":["0xg"]}"#.to_owned(),
                "bits",
            ),
            (
                r#"{"op":"convert","from":"f16","to":"f16","bits":[],"seed":1}"#.to_owned(),
                "seed",
            ),
            (r#"{"op":"loss_scale","init":0,"overflow":[]}"#.to_owned(), "init"),
            (r#"{"op":"loss_scale","init":"NaN","overflow":[]}"#.to_owned(), "init"),
            (r#"{"op":"loss_scale","init":1e39,"overflow":[]}"#.to_owned(), "init"),
            (
                r#"{"op":"loss_scale","growth_factor":1,"overflow":[]}"#.to_owned(),
                "growth_factor",
            ),
            (
                r#"{"op":"loss_scale","backoff_factor":1,"overflow":[]}"#.to_owned(),
                "backoff_factor",
            ),
            (
                r#"{"op":"loss_scale","backoff_factor":0,"overflow":[]}"#.to_owned(),
                "backoff_factor",
            ),
            (
                r#"{"op":"loss_scale","growth_interval":0,"overflow":[]}"#.to_owned(),
                "growth_interval",
            ),
            (r#"{"op":"loss_scale","overflow":[2]}"#.to_owned(), "overflow"),
            (r#"{"op":"loss_scale"}"#.to_owned(), "overflow"),
            (
                r#"{"op":"matmul","a":[[1,2]],"b":[[1]],"storage":"f16"}"#.to_owned(),
                "b",
            ),
            (
                r#"{"op":"matmul","a":[[1,2],[1]],"b":[[1]],"storage":"f16"}"#.to_owned(),
                "a",
            ),
            (
                r#"{"op":"matmul","a":[[1]],"b":[[1]],"storage":"i8"}"#.to_owned(),
                "storage",
            ),
            (
                r#"{"op":"matmul","a":[[1]],"b":[[1]],"storage":"f32","accumulate":"f16"}"#.to_owned(),
                "accumulate",
            ),
            (
                r#"{"op":"matmul","a":[[1]],"b":[[1]],"storage":"f64","accumulate":"f32"}"#.to_owned(),
                "accumulate",
            ),
            (
                r#"{"op":"matmul","a":[[1]],"b":[[1]],"storage":"f16","accumulate":"bf16"}"#.to_owned(),
                "accumulate",
            ),
            (
                r#"{"op":"train","data":"mnist","model":"mlp","mode":"f32","seed":1}"#.to_owned(),
                "data",
            ),
            (
                r#"{"op":"train","data":"digits","model":"rnn","mode":"f32","seed":1}"#.to_owned(),
                "model",
            ),
            (
                r#"{"op":"train","data":"digits","model":"mlp","mode":"f8","seed":1}"#.to_owned(),
                "mode",
            ),
            (
                r#"{"op":"train","data":"digits","model":"mlp","mode":"f32"}"#.to_owned(),
                "seed",
            ),
            (train(r#","epochs":-1"#), "epochs"),
            (train(r#","epochs":100000"#), "epochs"),
            (train(r#","hidden":0"#), "hidden"),
            (train(r#","batch":1438"#), "batch"),
            (train(r#","shards":17"#), "shards"),
            (train(r#","rate":"NaN""#), "rate"),
            (train(r#","optimizer":"lion""#), "optimizer"),
            (train(r#","loss_scaling":1"#), "loss_scaling"),
        ] {
            let input_value: Value = serde_json::from_str(&input).unwrap();
            let refused = MixedPrecision.solve(&input_value, &crate::Sequential).unwrap_err();
            assert_eq!(refused.field, field, "{input}: {refused}");
            assert!(refused.message.len() > 8, "{refused}");
        }
    }

    #[test]
    fn a_small_case_cannot_ask_for_gigabytes() {
        let rows = vec!["[]"; 5000].join(",");
        let input = format!(r#"{{"op":"matmul","a":[{rows}],"b":[],"storage":"f16"}}"#);
        // Nothing to multiply, nothing to hold.
        assert!(
            MixedPrecision
                .solve(&serde_json::from_str(&input).unwrap(), &crate::Sequential)
                .is_ok()
        );
        let column = vec!["[1]"; 5000].join(",");
        let row = vec!["1"; 5000].join(",");
        let input = format!(r#"{{"op":"matmul","a":[{column}],"b":[[{row}]],"storage":"f16"}}"#);
        let refused = MixedPrecision.solve(&serde_json::from_str(&input).unwrap(), &crate::Sequential);
        assert_eq!(refused.unwrap_err().field, "a");
    }
}
