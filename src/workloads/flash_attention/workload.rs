//! The catalogue's entry: parameters, tasks, their check, and single cases from JSON.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

use super::plain::Operands;
use super::problem::{Count, Problem};
use super::{Heads, HeadsMut, Mask};
use crate::digest::Digest;
use crate::json::{Case, kind, nested, number};
use crate::linear::{Element, Real, bf16, f16};
use crate::random::Random;
use crate::{About, Answer, BadInput, Domain, Fact, Join, Mismatch, Parameter, Params, Prepared, Sequential, Workload};

/// The catalogue's entry.
pub struct FlashAttention;

const MASKS: [&str; 4] = ["full", "top_left", "bottom_right", "window"];
const TYPES: [&str; 4] = ["f32", "bf16", "f16", "f64"];
const DIM: i64 = 256;
/// Multiply-adds of a task, at most: some minutes.
const MOST_WORK: f64 = 4e12;
/// Multiply-adds that the oracle may take for one answer; what costs more is checked by samples.
const CHECKED: usize = 40_000_000;

const fn size(
    name: &'static str,
    meaning: &'static str,
    unit: &'static str,
    max: i64,
    default: &'static str,
) -> Parameter {
    Parameter {
        name,
        meaning,
        unit,
        domain: Domain::Integer { min: 1, max },
        default,
    }
}

static ABOUT: About = About {
    name: "flash_attention",
    title: "FlashAttention",
    summary: "Exact attention by tiles with a running softmax: scores are never stored, memory grows with the length only.",
    parameters: &[
        size("batch", "independent items", "items", 64, "1"),
        size("heads", "query heads", "heads", 256, "4"),
        size(
            "kv_heads",
            "key and value heads; it must divide heads",
            "heads",
            256,
            "2",
        ),
        size("queries", "length of the queries", "tokens", 1 << 17, "128"),
        size("keys", "length of keys and values", "tokens", 1 << 20, "300"),
        size("head_dim", "numbers of a head's row", "numbers", DIM, "64"),
        Parameter {
            name: "causal",
            meaning: "which keys a query sees: all; those up to its own number; those up to its own when the last query is \
                      the last key's; or the last few up to its own number",
            unit: "",
            domain: Domain::Choice(&MASKS),
            default: "bottom_right",
        },
        size(
            "window",
            "keys a query sees with causal = window",
            "tokens",
            1 << 20,
            "64",
        ),
        Parameter {
            name: "dtype",
            meaning: "how numbers are stored; sums are f32, with f64 f64",
            unit: "",
            domain: Domain::Choice(&TYPES),
            default: "f32",
        },
        Parameter {
            name: "pass",
            meaning: "forward; forward and backward; or decode: keys split over the pool, for few queries over many keys",
            unit: "",
            domain: Domain::Choice(&["forward", "forward_backward", "decode"]),
            default: "forward",
        },
        size("inputs", "different inputs that tasks take in turn", "inputs", 64, "4"),
    ],
    shared: "queries, keys, values and the output's gradient of every input, read only",
    per_thread: "a task has output, logarithms and gradients of its own; a thread that takes part in it a block of rows, a tile of \
                 keys and values, and the scores of a strip of rows against a tile; forked pieces write disjoint rows",
    checked: "digest against a second, sequential computation; rows of output and logarithms against the definition in f64 (all of \
              them, or as many, evenly spread, as 4 * 10^7 multiply-adds allow); gradients against the textbook's in f64 where all \
              of them cost no more than that, else by sum dV V = sum dO O and sum dK K = sum dQ Q of every head",
    input_example: r#"{"q":[[[[1,0],[0,2]]]],"k":[[[[0,1],[0,1]]]],"v":[[[[1,2],[5,6]]]],"causal":{"window":1},"scale":0.0,"kv_lens":null,"dtype":"f32"}"#,
    output_example: r#"{"log_sum_exp":[[[0.0,0.0]]],"output":[[[[1.0,2.0],[5.0,6.0]]]]}"#,
    notes: "Time O(queries * keys * head_dim), masked tiles skipped; extra memory O(length * head_dim), given as peak_extra_bytes \
            beside standard_method_bytes, the scores of all heads. Sources: Dao, Fu, Ermon, Rudra, Re: FlashAttention (2022); \
            Dao: FlashAttention-2 (2023). JSON: q [B][H][Nq][D], k and v [B][Hk][Nk][D], Hk divides H and query head h reads key \
            head h / (H / Hk); D up to 256. causal: null (all), top_left (key j if j <= i), bottom_right (j <= i + Nk - Nq), \
            {window: w} (i - w < j <= i). scale: null is 1 / sqrt(D). kv_lens: for each item, how many keys count. A row that sees \
            no key gives zeros and log_sum_exp -Infinity. Keys that a row does not see have no part in it, NaN or not; those it \
            sees propagate NaN and infinities as the definition does. Error against the definition, unit u (f32 6e-8, f64 1.1e-16), \
            S the row's greatest sum of |q k scale|: log_sum_exp (D + 8) (S + 1) u, output about 4 times that, relative to the sum \
            of |weight * value|; plus the rounding of the stored type.",
};

/// A task's sizes.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    dim: usize,
}

impl Sizes {
    fn of(params: &Params) -> Sizes {
        Sizes {
            batch: params.size("batch"),
            heads: params.size("heads"),
            kv_heads: params.size("kv_heads"),
            queries: params.size("queries"),
            keys: params.size("keys"),
            dim: params.size("head_dim"),
        }
    }

    fn q_count(&self) -> usize {
        self.batch * self.heads * self.queries * self.dim
    }

    fn k_count(&self) -> usize {
        self.batch * self.kv_heads * self.keys * self.dim
    }

    fn rows(&self) -> usize {
        self.batch * self.heads * self.queries
    }

    fn work(&self) -> f64 {
        self.q_count() as f64 * self.keys as f64
    }

    /// Whether the oracle may look at everything.
    fn checked_whole(&self) -> bool {
        self.work() <= CHECKED as f64
    }

    fn on_queries<'a, T>(&self, data: &'a [T]) -> Heads<'a, T> {
        Heads::dense(data, self.batch, self.heads, self.queries, self.dim)
    }

    fn on_keys<'a, T>(&self, data: &'a [T]) -> Heads<'a, T> {
        Heads::dense(data, self.batch, self.kv_heads, self.keys, self.dim)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Forward,
    ForwardBackward,
    Decode,
}

impl Pass {
    fn of(params: &Params) -> Pass {
        match params.text("pass") {
            "forward_backward" => Pass::ForwardBackward,
            "decode" => Pass::Decode,
            _ => Pass::Forward,
        }
    }
}

fn mask(params: &Params) -> Mask<'static> {
    match params.text("causal") {
        "top_left" => Mask::TopLeft,
        "bottom_right" => Mask::BottomRight,
        "window" => Mask::Window(params.size("window")),
        _ => Mask::Full,
    }
}

/// A stored number from one of JSON or of the generator, rounded once.
trait Stored: Element {
    fn stored(value: f64) -> Self;
    fn bits(self) -> u64;
    /// The unit that a sum rounds by, and the one that storing does.
    const UNITS: [f64; 2];
}

macro_rules! stored {
    ($type:ty, $value:ident => $from:expr, $units:expr) => {
        impl Stored for $type {
            fn stored($value: f64) -> $type {
                $from
            }

            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }

            const UNITS: [f64; 2] = $units;
        }
    };
}

stored!(f32, value => value as f32, [6e-8, 0.0]);
stored!(f64, value => value, [1.2e-16, 0.0]);
stored!(f16, value => f16::from_f64(value), [6e-8, 1.0 / 2048.0]);
stored!(bf16, value => bf16::from_f64(value), [6e-8, 1.0 / 256.0]);

/// The bytes of a load of tasks whose numbers are stored as `T`.
fn bytes<T: Element>(params: &Params, workers: usize) -> u64 {
    let (sizes, pass) = (Sizes::of(params), Pass::of(params));
    let (stored, sum) = (size_of::<T>() as u64, size_of::<T::Sum>() as u64);
    let (q, k, rows) = (sizes.q_count() as u64, sizes.k_count() as u64, sizes.rows() as u64);
    let workers = workers.max(1);
    let problem = Problem::<T>::shape(
        sizes.batch,
        [sizes.heads, sizes.kv_heads],
        [sizes.queries, sizes.keys],
        sizes.dim,
    );
    let backward = pass == Pass::ForwardBackward;
    let input = (q + 2 * k + if backward { q } else { 0 }) * stored + 512;
    let result = q * stored + rows * sum + if backward { (q + 2 * k) * sum } else { 0 };
    let mut extra = problem.forward_bytes(workers, pass == Pass::Decode);
    if backward {
        extra = extra.max(problem.backward_bytes(workers));
    }
    // The oracle's gradients and their sizes in f64, and a row of weights with its keys.
    let oracle = 64 * sizes.keys as u64
        + if backward && sizes.checked_whole() {
            (q + 2 * k) * 16
        } else {
            0
        };
    let inputs = params.integer("inputs") as u64;
    inputs * input + workers as u64 * (result + extra.max(oracle) + 8192) + 4096
}

impl Workload for FlashAttention {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        match params.text("dtype") {
            "bf16" => bytes::<bf16>(params, workers),
            "f16" => bytes::<f16>(params, workers),
            "f64" => bytes::<f64>(params, workers),
            _ => bytes::<f32>(params, workers),
        }
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let sizes = Sizes::of(params);
        if !sizes.heads.is_multiple_of(sizes.kv_heads) {
            return Err(BadInput::new(
                "kv_heads",
                format!(
                    "{} does not divide heads, {}; give a divisor, such as 1 or {}",
                    sizes.kv_heads, sizes.heads, sizes.heads
                ),
            ));
        }
        if sizes.work() > MOST_WORK {
            return Err(BadInput::new(
                "queries",
                format!(
                    "a task of this shape takes up to {:e} multiply-adds, more than {MOST_WORK:e}; give at most {} queries",
                    sizes.work(),
                    ((MOST_WORK / (sizes.work() / sizes.queries as f64)) as usize).max(1)
                ),
            ));
        }
        Ok(match params.text("dtype") {
            "bf16" => Box::new(Tasks::<bf16>::new(params, seed)),
            "f16" => Box::new(Tasks::<f16>::new(params, seed)),
            "f64" => Box::new(Tasks::<f64>::new(params, seed)),
            _ => Box::new(Tasks::<f32>::new(params, seed)),
        })
    }

    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
        let case = Case::open(input, &["q", "k", "v", "causal", "scale", "kv_lens", "dtype"])?;
        let dtype = match case.optional("dtype") {
            None => 0,
            Some(_) => case.choice("dtype", &TYPES)?,
        };
        match TYPES[dtype] {
            "bf16" => attend_to::<bf16>(&case, join),
            "f16" => attend_to::<f16>(&case, join),
            "f64" => attend_to::<f64>(&case, join),
            _ => attend_to::<f32>(&case, join),
        }
    }
}

/// One case from JSON.
fn attend_to<T: Stored>(case: &Case<'_>, join: &dyn Join) -> Result<Value, BadInput> {
    let tensor = |name: &str| {
        let (shape, flat) = case.tensor(name, 4)?;
        Ok::<_, BadInput>((shape, flat.into_iter().map(T::stored).collect::<Vec<T>>()))
    };
    let ((q_shape, q), (k_shape, k), (v_shape, v)) = (tensor("q")?, tensor("k")?, tensor("v")?);
    let [batch, heads, queries, mut dim] = q_shape[..] else {
        return Err(BadInput::new("q", "is not nested four deep; give [B][H][N][D]"));
    };
    let [k_batch, kv_heads, keys, k_dim] = k_shape[..] else {
        return Err(BadInput::new("k", "is not nested four deep; give [B][H][N][D]"));
    };
    if k_batch != batch {
        return Err(BadInput::new(
            "k",
            format!("has {k_batch} batch items, but q has {batch}; give the same number"),
        ));
    }
    if heads > 0 && (kv_heads == 0 || !heads.is_multiple_of(kv_heads)) {
        return Err(BadInput::new(
            "k",
            format!("has {kv_heads} heads, which {heads} query heads can not share evenly; give a divisor of {heads}"),
        ));
    }
    // The rows' length of an empty array is not known: any fits.
    if queries == 0 || heads == 0 || batch == 0 {
        dim = k_dim;
    } else if keys > 0 && k_dim != dim {
        return Err(BadInput::new(
            "k",
            format!("has rows of {k_dim} numbers, but q of {dim}; give the same length"),
        ));
    }
    if v_shape != k_shape {
        return Err(BadInput::new(
            "v",
            format!("has the shape {v_shape:?}, but k {k_shape:?}; give both the same"),
        ));
    }
    if queries > 0 && dim == 0 && !q_shape.contains(&0) || dim == 0 && q_shape[..3].iter().all(|length| *length > 0) {
        return Err(BadInput::new("q", "has rows of no numbers; give 1 to 256"));
    }
    if dim > DIM as usize {
        return Err(BadInput::new(
            "q",
            format!("has rows of {dim} numbers; give 1 to {DIM}"),
        ));
    }
    let mask = match case.optional("causal") {
        None => Mask::Full,
        Some(Value::String(_)) => match case.choice("causal", &["top_left", "bottom_right"])? {
            0 => Mask::TopLeft,
            _ => Mask::BottomRight,
        },
        Some(Value::Object(fields)) => Mask::Window(window(fields)?),
        Some(other) => {
            return Err(BadInput::new(
                "causal",
                format!(
                    "is {}; give null, \"top_left\", \"bottom_right\" or {{\"window\": w}}",
                    kind(other)
                ),
            ));
        }
    };
    let scale = case.optional("scale").map(number).transpose();
    let scale = scale.map_err(|why| BadInput::new("scale", format!("{why}; null is 1 / sqrt(D)")))?;
    if let Some(scale) = scale
        && !(scale.is_finite() && T::Sum::of(scale * std::f64::consts::LOG2_E).to_f64().is_finite())
    {
        return Err(BadInput::new(
            "scale",
            format!("is {scale}; give a finite number, or null for 1 / sqrt(D)"),
        ));
    }
    let kv_lens = match case.optional("kv_lens") {
        None => None,
        Some(_) => Some(lens(&case.integers("kv_lens")?, batch, keys)?),
    };
    let sizes = Sizes {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        dim: dim.max(1),
    };
    let mut output = vec![T::default(); sizes.rows() * dim];
    let mut sums = vec![T::Sum::default(); sizes.rows()];
    if !output.is_empty() {
        super::forward(
            join,
            sizes.on_queries(&q),
            sizes.on_keys(&k),
            sizes.on_keys(&v),
            mask,
            scale,
            kv_lens.as_deref(),
            HeadsMut::dense(&mut output, batch, heads, queries, dim),
            &mut sums,
        );
    }
    let wide: Vec<f64> = output.into_iter().map(|value| value.wide().to_f64()).collect();
    let sums: Vec<f64> = sums.into_iter().map(Real::to_f64).collect();
    Ok(json!({
        "output": nested(&[batch, heads, queries, dim], &wide),
        "log_sum_exp": nested(&[batch, heads, queries], &sums),
    }))
}

/// The width of `{"window": w}`.
fn window(fields: &Map<String, Value>) -> Result<usize, BadInput> {
    let fields = Value::Object(fields.clone());
    let within = |bad: BadInput| BadInput::new("causal", format!("{} {}", bad.field, bad.message));
    let case = Case::open(&fields, &["window"]).map_err(within)?;
    case.count("window").map_err(within)
}

fn lens(given: &[i64], batch: usize, keys: usize) -> Result<Vec<usize>, BadInput> {
    if given.len() != batch {
        return Err(BadInput::new(
            "kv_lens",
            format!(
                "holds {} lengths for {batch} batch items; give one for each",
                given.len()
            ),
        ));
    }
    let fit = |(at, len): (usize, &i64)| {
        usize::try_from(*len).ok().filter(|len| *len <= keys).ok_or_else(|| {
            BadInput::new(
                "kv_lens",
                format!("element {at} is {len}; give 0 to {keys}, the number of keys"),
            )
        })
    };
    given.iter().enumerate().map(fit).collect()
}

/// Whether a difference exceeds its bound; NaN always does.
fn apart(difference: f64, bound: f64) -> bool {
    difference.is_nan() || difference.abs() > bound
}

/// Operands of one input.
struct Given<T> {
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    d_output: Vec<T>,
}

struct Tasks<T> {
    sizes: Sizes,
    mask: Mask<'static>,
    pass: Pass,
    inputs: Vec<Given<T>>,
    /// The most that a task allocated for its own use.
    peak: AtomicUsize,
}

/// What a task computes.
struct Found<T: Element> {
    output: Vec<T>,
    log_sum_exp: Vec<T::Sum>,
    gradients: [Vec<T::Sum>; 3],
}

impl<T: Stored> Tasks<T>
where
    T::Sum: Stored,
{
    fn new(params: &Params, seed: u64) -> Tasks<T> {
        let (sizes, pass) = (Sizes::of(params), Pass::of(params));
        let inputs = (0..params.integer("inputs") as u64)
            .map(|input| {
                let tensor = |which: u64, count: usize| {
                    let mut random = Random::new(seed, 4 * input + which);
                    // The sum of four uniform numbers, with variance 1: near enough to a normal one.
                    let mut one = || {
                        let bits = random.next();
                        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xFFFF).sum();
                        T::stored((sum as f64 / 65536.0 - 2.0) * 3.0_f64.sqrt())
                    };
                    (0..count).map(|_| one()).collect::<Vec<T>>()
                };
                Given {
                    q: tensor(0, sizes.q_count()),
                    k: tensor(1, sizes.k_count()),
                    v: tensor(2, sizes.k_count()),
                    d_output: tensor(
                        3,
                        if pass == Pass::ForwardBackward {
                            sizes.q_count()
                        } else {
                            0
                        },
                    ),
                }
            })
            .collect();
        Tasks {
            sizes,
            mask: mask(params),
            pass,
            inputs,
            peak: AtomicUsize::new(0),
        }
    }

    fn input(&self, task: u64) -> &Given<T> {
        &self.inputs[(task % self.inputs.len() as u64) as usize]
    }

    fn compute(&self, given: &Given<T>, join: &dyn Join, count: &Count) -> Found<T> {
        let sizes = self.sizes;
        let problem = Problem::new(
            sizes.on_queries(&given.q),
            sizes.on_keys(&given.k),
            sizes.on_keys(&given.v),
            self.mask,
            None,
            None,
        );
        let mut output = vec![T::default(); given.q.len()];
        let mut log_sum_exp = vec![T::Sum::default(); sizes.rows()];
        let into = HeadsMut::dense(&mut output, sizes.batch, sizes.heads, sizes.queries, sizes.dim);
        problem.attend(join, into, &mut log_sum_exp, count, self.pass == Pass::Decode);
        let mut gradients = [Vec::new(), Vec::new(), Vec::new()];
        if self.pass == Pass::ForwardBackward {
            gradients = [given.q.len(), given.k.len(), given.v.len()].map(|count| vec![T::Sum::default(); count]);
            let [d_q, d_k, d_v] = &mut gradients;
            let into = [
                HeadsMut::dense(d_q, sizes.batch, sizes.heads, sizes.queries, sizes.dim),
                HeadsMut::dense(d_k, sizes.batch, sizes.kv_heads, sizes.keys, sizes.dim),
                HeadsMut::dense(d_v, sizes.batch, sizes.kv_heads, sizes.keys, sizes.dim),
            ];
            let (output, d_output) = (sizes.on_queries(&output), sizes.on_queries(&given.d_output));
            problem.differentiate(join, output, d_output, &log_sum_exp, into, count);
        }
        Found {
            output,
            log_sum_exp,
            gradients,
        }
    }

    fn digest(found: &Found<T>) -> u64 {
        let output = found.output.iter().map(|value| value.bits());
        let sums = found.log_sum_exp.iter().map(|value| value.bits());
        let gradients = found.gradients.iter().flatten().map(|value| value.bits());
        Digest::of(output.chain(sums).chain(gradients))
    }

    /// Holds what was found against the definition; says what differs.
    fn check(&self, given: &Given<T>, found: &Found<T>) -> Result<(), String> {
        let sizes = self.sizes;
        let operands = Operands {
            q: sizes.on_queries(&given.q),
            k: sizes.on_keys(&given.k),
            v: sizes.on_keys(&given.v),
            mask: self.mask,
            scale: 1.0 / (sizes.dim as f64).sqrt(),
            kv_lens: None,
        };
        let [unit, stored] = T::UNITS;
        let base = unit * (sizes.dim as f64 + 8.0);
        let rows = (CHECKED / (sizes.keys * sizes.dim)).clamp(1, sizes.rows());
        for sample in 0..rows {
            // Evenly over all rows, the first and the last among them.
            let at = if rows == 1 {
                0
            } else {
                sample * (sizes.rows() - 1) / (rows - 1)
            };
            let (b, rest) = (at / (sizes.heads * sizes.queries), at % (sizes.heads * sizes.queries));
            let expected = operands.row(b, rest / sizes.queries, rest % sizes.queries);
            let bound = base * (expected.score + 1.0);
            let sum = found.log_sum_exp[at].to_f64();
            if sum != expected.log_sum_exp && apart(sum - expected.log_sum_exp, bound) {
                return Err(format!(
                    "row {at}: logarithm of the sum {sum}, by the definition {}",
                    expected.log_sum_exp
                ));
            }
            for (d, expected_value) in expected.output.iter().enumerate() {
                let value = found.output[at * sizes.dim + d].wide().to_f64();
                let bound = 4.0 * bound * expected.magnitude[d] + stored * expected_value.abs() + unit;
                if apart(value - expected_value, bound) {
                    return Err(format!(
                        "row {at}, column {d}: {value}, by the definition {expected_value}"
                    ));
                }
            }
        }
        if self.pass != Pass::ForwardBackward {
            return Ok(());
        }
        // D is made of the stored output, so its rounding is in every gradient.
        let base = 4.0 * base + stored;
        let d_output = sizes.on_queries(&given.d_output);
        if sizes.checked_whole() {
            for (name, (found, (expected, size))) in ["dQ", "dK", "dV"]
                .iter()
                .zip(found.gradients.iter().zip(operands.gradients(d_output)))
            {
                for (at, value) in found.iter().enumerate() {
                    if apart(value.to_f64() - expected[at], base * size[at] + unit) {
                        return Err(format!("{name} {at}: {value:?}, by the textbook {}", expected[at]));
                    }
                }
            }
            return Ok(());
        }
        self.check_sums(given, found, base)
    }

    /// Output is linear in V, so sum dV V = sum dO O; and scores are linear in Q and in K, so both
    /// sum dQ Q and sum dK K are sum dS S.
    fn check_sums(&self, given: &Given<T>, found: &Found<T>, base: f64) -> Result<(), String> {
        let sum = |pairs: &mut dyn Iterator<Item = (f64, f64)>| {
            pairs.fold((0.0, 0.0), |(sum, size), (a, b)| {
                (sum + a * b, size + (a * b) * (a * b))
            })
        };
        let wide = |value: &T| value.wide().to_f64();
        let sizes = self.sizes;
        let on_queries = sizes.queries * (sizes.heads / sizes.kv_heads) * sizes.dim;
        let on_keys = sizes.keys * sizes.dim;
        for head in 0..sizes.batch * sizes.kv_heads {
            let (q, k) = (head * on_queries, head * on_keys);
            let pairs = |gradient: &[T::Sum], operand: &[T], from: usize, count: usize| {
                let gradient = gradient[from..][..count].iter().map(|value| value.to_f64());
                sum(&mut gradient.zip(operand[from..][..count].iter().map(wide)))
            };
            let [d_q, d_k, d_v] = &found.gradients;
            let outputs = found.output[q..][..on_queries].iter().map(wide);
            let by_output = sum(&mut outputs.zip(given.d_output[q..][..on_queries].iter().map(wide)));
            for (name, a, b) in [
                ("sum dV V, sum dO O", pairs(d_v, &given.v, k, on_keys), by_output),
                (
                    "sum dK K, sum dQ Q",
                    pairs(d_k, &given.k, k, on_keys),
                    pairs(d_q, &given.q, q, on_queries),
                ),
            ] {
                // Roundings of so many terms go either way: they add up like the steps of a random walk.
                if apart(a.0 - b.0, 8.0 * base * (a.1 + b.1).sqrt()) {
                    return Err(format!("head {head}: {name} differ: {} and {}", a.0, b.0));
                }
            }
        }
        Ok(())
    }
}

impl<T: Stored> Prepared for Tasks<T>
where
    T::Sum: Stored,
{
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        let count = Count::default();
        let found = self.compute(self.input(task), join, &count);
        // Relaxed: a tally for the report.
        self.peak.fetch_max(count.peak(), Ordering::Relaxed);
        let digest = Self::digest(&found);
        Answer {
            text: format!("{} rows, digest {digest:016x}", self.sizes.rows()),
            words: vec![self.sizes.rows() as u64, digest],
        }
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let given = self.input(task);
        let found = self.compute(given, &Sequential, &Count::default());
        let digest = Self::digest(&found);
        if answer.words != [self.sizes.rows() as u64, digest] {
            return Err(Mismatch {
                task,
                message: format!(
                    "{} but computed again: {} rows, digest {digest:016x}",
                    answer.text,
                    self.sizes.rows()
                ),
            });
        }
        self.check(given, &found).map_err(|message| Mismatch { task, message })
    }

    fn facts(&self) -> Vec<Fact> {
        let scores = self.sizes.rows() as f64 * self.sizes.keys as f64 * size_of::<T::Sum>() as f64;
        let peak = self.peak.load(Ordering::Relaxed) as f64;
        vec![
            Fact {
                name: "peak_extra_bytes",
                unit: "bytes",
                meaning: "the most that a task allocated beside its operands and results",
                value: peak,
            },
            Fact {
                name: "standard_method_bytes",
                unit: "bytes",
                meaning: "the scores of all heads, which the standard method stores",
                value: scores,
            },
            Fact {
                name: "share_of_standard_method",
                unit: "1",
                meaning: "the first over the second",
                value: if scores > 0.0 { peak / scores } else { 0.0 },
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParamValue;
    use crate::tests::{OnThreads, solve};

    fn answer(input: &str) -> String {
        solve(&FlashAttention, input).unwrap()
    }

    fn refused(fields: &str) -> String {
        let input = format!(r#"{{"q":[[[[1,0]]]],"k":[[[[0,1]]]],"v":[[[[1,2]]]]{fields}}}"#);
        solve(&FlashAttention, &input).unwrap_err()
    }

    #[test]
    fn small_cases_by_hand() {
        // Two equal scores: the mean, and ln 2 in f64.
        assert_eq!(
            answer(r#"{"q":[[[[0]]]],"k":[[[[1],[2]]]],"v":[[[[1],[4]]]],"dtype":"f64"}"#),
            r#"{"log_sum_exp":[[[0.6931471805599453]]],"output":[[[[2.5]]]]}"#
        );
        // Sees nothing, then one key, then two.
        assert_eq!(
            answer(
                r#"{"q":[[[[0],[0],[0]]]],"k":[[[[1],[2]]]],"v":[[[[1],[4]]]],"causal":"bottom_right","dtype":"bf16","scale":2}"#
            ),
            r#"{"log_sum_exp":[[["-Infinity",0.0,0.6931471824645996]]],"output":[[[[0.0],[1.0],[2.5]]]]}"#
        );
        assert_eq!(
            answer(r#"{"q":[[[[0]]]],"k":[[[["NaN"],[2]]]],"v":[[[["Infinity"],[4]]]],"kv_lens":[0]}"#),
            r#"{"log_sum_exp":[[["-Infinity"]]],"output":[[[[0.0]]]]}"#
        );
        assert_eq!(
            answer(r#"{"q":[[[["Infinity"]]]],"k":[[[[1]]]],"v":[[[[4]]]]}"#),
            r#"{"log_sum_exp":[[["NaN"]]],"output":[[[["NaN"]]]]}"#
        );
    }

    #[test]
    fn empty_arrays_are_cases_too() {
        for (q, k, expected) in [
            ("[]", "[]", r#"{"log_sum_exp":[],"output":[]}"#),
            ("[[]]", "[[]]", r#"{"log_sum_exp":[[]],"output":[[]]}"#),
            ("[[[]]]", "[[[[1,2]]]]", r#"{"log_sum_exp":[[[]]],"output":[[[]]]}"#),
            (
                "[[[[1,2]]]]",
                "[[[]]]",
                r#"{"log_sum_exp":[[["-Infinity"]]],"output":[[[[0.0,0.0]]]]}"#,
            ),
        ] {
            assert_eq!(answer(&format!(r#"{{"q":{q},"k":{k},"v":{k}}}"#)), expected, "{q} {k}");
        }
    }

    #[test]
    fn bad_cases_are_refused_by_name() {
        for (fields, expected) in [
            (
                r#","causal":"top_lef""#,
                "causal: `top_lef` is not known; did you mean `top_left`?",
            ),
            (
                r#","causal":true"#,
                "causal: is a truth value; give null, \"top_left\", \"bottom_right\" or {\"window\": w}",
            ),
            (r#","causal":{"window":-1}"#, "causal: window is -1; give 0 or more"),
            (
                r#","causal":{"widow":1}"#,
                "causal: widow is not a field of this case; did you mean `window`?",
            ),
            (
                r#","scale":"Infinity""#,
                "scale: is inf; give a finite number, or null for 1 / sqrt(D)",
            ),
            (
                r#","scale":1e39"#,
                "scale: is 1000000000000000000000000000000000000000; give a finite",
            ),
            (
                r#","kv_lens":[1,1]"#,
                "kv_lens: holds 2 lengths for 1 batch items; give one for each",
            ),
            (
                r#","kv_lens":[2]"#,
                "kv_lens: element 0 is 2; give 0 to 1, the number of keys",
            ),
            (r#","kv_lens":[-1]"#, "kv_lens: element 0 is -1; give 0 to 1"),
            (r#","dtype":"f33""#, "dtype: `f33` is not known; did you mean `f32`?"),
            (
                r#","caussal":null"#,
                "caussal: is not a field of this case; did you mean `causal`?",
            ),
        ] {
            let found = refused(fields);
            assert!(found.starts_with(expected), "{fields}: {found}");
        }
        for (q, k, v, expected) in [
            (
                "[[[[1]],[[1]]]]",
                "[[[[1]],[[1]],[[1]]]]",
                "[]",
                "k: has 3 heads, which 2 query heads",
            ),
            (
                "[[[[1]]],[[[1]]]]",
                "[[[[1]]]]",
                "[[[[1]]]]",
                "k: has 1 batch items, but q has 2",
            ),
            (
                "[[[[1,2]]]]",
                "[[[[1]]]]",
                "[[[[1]]]]",
                "k: has rows of 1 numbers, but q of 2",
            ),
            (
                "[[[[1]]]]",
                "[[[[1]]]]",
                "[[[[1],[2]]]]",
                "v: has the shape [1, 1, 2, 1], but k [1, 1, 1, 1]",
            ),
            ("[[[[]]]]", "[[[[]]]]", "[[[[]]]]", "q: has rows of no numbers"),
            (
                "[[[1]]]",
                "[[[[1]]]]",
                "[[[[1]]]]",
                "q: has a number where an array belongs",
            ),
            (
                "[[[[1],[1,2]]]]",
                "[[[[1]]]]",
                "[[[[1]]]]",
                "q: has arrays of 1 and of 2 values",
            ),
        ] {
            let found = solve(&FlashAttention, &format!(r#"{{"q":{q},"k":{k},"v":{v}}}"#)).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        }
        let wide = format!("[[[[{}0]]]]", "0,".repeat(256));
        let found = solve(&FlashAttention, &format!(r#"{{"q":{wide},"k":{wide},"v":{wide}}}"#)).unwrap_err();
        assert_eq!(found, "q: has rows of 257 numbers; give 1 to 256");
    }

    fn params(given: &[(&str, ParamValue)]) -> Params {
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        Params::resolve(&ABOUT, &given).unwrap()
    }

    fn text(value: &str) -> ParamValue {
        ParamValue::Text(value.to_owned())
    }

    #[test]
    fn every_type_and_pass_runs_and_verifies() {
        for dtype in TYPES {
            for (pass, mask) in [
                ("forward_backward", "top_left"),
                ("decode", "bottom_right"),
                ("forward", "window"),
            ] {
                let queries = if pass == "decode" { 2 } else { 100 };
                let params = params(&[
                    ("dtype", text(dtype)),
                    ("pass", text(pass)),
                    ("causal", text(mask)),
                    ("queries", ParamValue::Integer(queries)),
                    ("keys", ParamValue::Integer(700)),
                ]);
                let prepared = FlashAttention.prepare(&params, 5).unwrap();
                let answer = prepared.run(1, &OnThreads(2));
                assert_eq!(answer, prepared.run(1, &Sequential), "{dtype} {pass}");
                assert_eq!(prepared.verify(1, &answer), Ok(()), "{dtype} {pass}");
                let facts = prepared.facts();
                assert_eq!(facts[0].name, "peak_extra_bytes");
                assert!(facts[0].value > 0.0);
                assert_eq!(
                    facts[1].value,
                    (queries * 700 * 4) as f64 * if dtype == "f64" { 8.0 } else { 4.0 }
                );
            }
        }
    }

    /// Too large for the whole definition: samples, and the sums that must agree.
    #[test]
    fn large_gradients_are_checked_by_their_sums() {
        let params = params(&[
            ("pass", text("forward_backward")),
            ("queries", ParamValue::Integer(600)),
            ("keys", ParamValue::Integer(600)),
            ("inputs", ParamValue::Integer(1)),
        ]);
        let tasks = Tasks::<f32>::new(&params, 1);
        assert!(!tasks.sizes.checked_whole());
        let given = tasks.input(0);
        let mut found = tasks.compute(given, &Sequential, &Count::default());
        assert_eq!(tasks.check(given, &found), Ok(()));
        let place = found.gradients[2].iter_mut().max_by(|a, b| a.total_cmp(b)).unwrap();
        *place += 1.0;
        assert!(tasks.check(given, &found).unwrap_err().contains("sum dV V"));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let bad = params(&[("heads", ParamValue::Integer(6)), ("kv_heads", ParamValue::Integer(4))]);
        let refused = FlashAttention.prepare(&bad, 1).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "kv_heads: 4 does not divide heads, 6; give a divisor, such as 1 or 6"
        );
        let long = params(&[
            ("queries", ParamValue::Integer(1 << 17)),
            ("keys", ParamValue::Integer(1 << 20)),
        ]);
        let refused = FlashAttention.prepare(&long, 1).err().unwrap();
        assert_eq!(refused.field, "queries");
        assert!(refused.message.contains("give at most 14901 queries"), "{refused}");
    }
}
