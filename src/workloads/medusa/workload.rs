//! The catalogue's entry: texts to be said as tasks, their check, and single cases from JSON.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::acceptance::{Typical, greedy};
use super::alphabet::{self, VOCABULARY};
use super::generate::{Mode, Said, generate, go_on};
use super::model::{Model, RANKS};
use super::tree::Tree;
use super::{Decoder, Shape, oracle};
use crate::digest::Digest;
use crate::json::{Case, kind, number, told};
use crate::random::Random;
use crate::stopwatch::Stopwatch;
use crate::{About, Answer, BadInput, Domain, Fact, Join, Mismatch, Parameter, Params, Prepared, Workload};

/// The catalogue's entry.
pub struct Medusa;

/// Text that the model has not seen: prompts come from it.
const HELD_OUT: &str = include_str!("text/held_out.txt");

/// Tokens that the oracle computes for one answer, at most: it takes a millisecond for each.
const CHECKED: usize = 128;

/// Nodes of a tree in a JSON case, at most: its mask has their square.
const MOST_NODES: usize = 1024;

static ABOUT: About = About {
    name: "medusa",
    title: "Medusa decoding",
    summary: "Says text with a small language model, several tokens a pass: extra heads guess ahead, a tree of their guesses is verified at once.",
    parameters: &[
        Parameter {
            name: "mode",
            meaning: "one token a pass; Medusa keeping exactly what that would say; or Medusa keeping what is typical for the model",
            unit: "",
            domain: Domain::Choice(&["plain", "greedy", "typical"]),
            default: "greedy",
        },
        Parameter {
            name: "texts",
            meaning: "texts said in one task, which the pool may do in parallel",
            unit: "texts",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "1",
        },
        Parameter {
            name: "tokens",
            meaning: "tokens said of each text",
            unit: "tokens",
            domain: Domain::Integer { min: 1, max: 192 },
            default: "64",
        },
        Parameter {
            name: "prompt",
            meaning: "tokens of held-out text before them",
            unit: "tokens",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "32",
        },
        Parameter {
            name: "nodes",
            meaning: "candidates verified in one pass, the base model's own included; their tree is the best for the measured accuracies",
            unit: "nodes",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
        Parameter {
            name: "top_k",
            meaning: "guesses of each head that the tree may use",
            unit: "guesses",
            domain: Domain::Integer {
                min: 1,
                max: RANKS as i64,
            },
            default: "8",
        },
        Parameter {
            name: "epsilon",
            meaning: "typical: a token likelier than this is always kept",
            unit: "",
            domain: Domain::Number { min: 0.0, max: 1.0 },
            default: "0.09",
        },
        Parameter {
            name: "delta",
            meaning: "typical: and one likelier than this times exp(-entropy)",
            unit: "",
            domain: Domain::Number { min: 0.0, max: 10.0 },
            default: "0.3",
        },
        Parameter {
            name: "temperature",
            meaning: "typical: logits are divided by it before they are judged",
            unit: "",
            domain: Domain::Number { min: 0.01, max: 100.0 },
            default: "1",
        },
        Parameter {
            name: "inputs",
            meaning: "different sets of prompts that tasks take in turn",
            unit: "inputs",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
    ],
    shared: "the model, read only: 2 million weights in bf16, loaded once for the whole process and kept; the prompts",
    per_thread: "for each text being said, a cache of its keys and values and room for one pass",
    checked: "against the same run again, to the bit; greedy also against plain decoding, token by token; and tokens of the first text against the model's definition in f64, without a cache: each must be the likeliest, or no further below it than bf16 rounding explains (typical: kept guesses must exceed the threshold, within the same margin)",
    input_example: r#"{"op":"tree","choices":[[0],[1],[0,0]]}"#,
    output_example: r#"{"depth":[0,1,1,2],"mask":[[1,0,0,0],[1,1,0,0],[1,0,1,0],[1,1,0,1]],"nodes":4,"parent":[null,0,0,1]}"#,
    notes: "Source: Cai et al.: Medusa (2024), heads trained on a backbone that stands still (Medusa-1). The model is a transformer over 64 characters, trained on Genesis to Ruth of the King James Bible; \
            it looks back on 256 tokens. Other cases: {\"op\":\"typical\",\"logits\",\"epsilon\",\"delta\",\"temperature\"} gives entropy (nats), threshold and accept; \
            {\"op\":\"greedy_verify\",\"choices\",\"node_tokens\",\"base_argmax_after_node\"} gives accepted_draft_tokens, path_nodes (from node 0) and bonus_token, nodes being sorted by depth and then by path; \
            {\"op\":\"generate\",\"prompt\",\"tokens\",\"mode\"} (optional: nodes, epsilon, delta, temperature) gives text, tokens, accepted_lengths, mean_accepted_length, seconds, plain_seconds and acceleration, each time the least of three in turns, after the prompt was read.",
};

impl Medusa {
    fn mode(params: &Params) -> Mode {
        match params.text("mode") {
            "plain" => Mode::Plain,
            "typical" => Mode::Typical(Typical {
                epsilon: params.number("epsilon"),
                delta: params.number("delta"),
                temperature: params.number("temperature"),
            }),
            _ => Mode::Greedy,
        }
    }
}

impl Workload for Medusa {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        let shape = Shape::STANDARD;
        let (texts, tokens, prompt) = (params.size("texts"), params.size("tokens"), params.size("prompt"));
        let (nodes, inputs) = (params.size("nodes"), params.size("inputs"));
        let workers = workers.max(1) as u64;
        let decoder = Decoder::bytes(shape, prompt + tokens + nodes, nodes.max(PROMPT_ROWS));
        let said = (24 * tokens + 6 * (tokens + 64) + 4096) as u64;
        // Its stream, queries, keys and values of all tokens, and the logits of those that are checked.
        let oracle = ((prompt + tokens.min(CHECKED)) * 8 * (6 * shape.width + VOCABULARY) + 65536) as u64;
        let texts = texts as u64;
        // Reading it takes a matrix more for a moment.
        let model = Model::standard_bytes() + 2 * (shape.width * shape.inner) as u64;
        model
            + HELD_OUT.len() as u64
            + (inputs as u64) * texts * (prompt as u64 + 24)
            + workers * ((texts.min(workers) * decoder).max(oracle) + 3 * texts * said)
            + 65536
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let model = Model::shipped();
        let text = alphabet::tokens(HELD_OUT).unwrap_or_else(|symbol| unreachable!("{symbol:?} is no token"));
        let length = params.size("prompt");
        let prompts = (0..params.size("inputs"))
            .map(|input| {
                let mut random = Random::new(seed, input as u64);
                (0..params.size("texts"))
                    .map(|_| {
                        let start = random.below((text.len() - length) as u64) as usize;
                        text[start..start + length].to_vec()
                    })
                    .collect()
            })
            .collect();
        let top_k = params.size("top_k");
        let usable: Vec<Vec<f64>> = model
            .accuracies
            .iter()
            .map(|ranks| ranks[..top_k.min(ranks.len())].to_vec())
            .collect();
        Ok(Box::new(Texts {
            model,
            mode: Medusa::mode(params),
            tree: Tree::of_best(&usable, params.size("nodes")),
            tokens: params.size("tokens"),
            prompts,
            tally: Tally::default(),
        }))
    }

    fn solve(&self, input: &Value, _: &dyn Join) -> Result<Value, BadInput> {
        let op = Case::open(input, &FIELDS)?.choice("op", &["tree", "typical", "greedy_verify", "generate"])?;
        match op {
            0 => tree_case(&Case::open(input, &["op", "choices"])?),
            1 => typical_case(&Case::open(
                input,
                &["op", "logits", "epsilon", "delta", "temperature"],
            )?),
            2 => greedy_case(&Case::open(
                input,
                &["op", "choices", "node_tokens", "base_argmax_after_node"],
            )?),
            _ => generate_case(&Case::open(
                input,
                &[
                    "op",
                    "prompt",
                    "tokens",
                    "mode",
                    "nodes",
                    "epsilon",
                    "delta",
                    "temperature",
                ],
            )?),
        }
    }
}

/// Of all cases, for the hint when a name is misspelt.
const FIELDS: [&str; 12] = [
    "op",
    "choices",
    "logits",
    "epsilon",
    "delta",
    "temperature",
    "node_tokens",
    "base_argmax_after_node",
    "prompt",
    "tokens",
    "mode",
    "nodes",
];

/// A prompt is read in passes of so many rows.
const PROMPT_ROWS: usize = 16;

/// Prompts ready to be gone on from.
struct Texts {
    model: &'static Model,
    mode: Mode,
    tree: Tree,
    tokens: usize,
    /// For each input, a prompt for each text.
    prompts: Vec<Vec<Vec<u8>>>,
    tally: Tally,
}

/// What the tasks so far did. Relaxed everywhere: each count stands alone.
#[derive(Default)]
struct Tally {
    passes: AtomicU64,
    kept: AtomicU64,
    compared: [AtomicU64; NAMED],
    right: [AtomicU64; NAMED],
}

/// Heads whose accuracy is reported by name.
const NAMED: usize = 5;

impl Texts {
    fn prompts(&self, task: u64) -> &[Vec<u8>] {
        &self.prompts[(task % self.prompts.len() as u64) as usize]
    }

    fn say(&self, mode: Mode, prompt: &[u8]) -> Said {
        let room = prompt.len() + self.tokens + self.tree.len();
        let mut decoder = Decoder::new(self.model, room, self.tree.len().max(PROMPT_ROWS));
        generate(&mut decoder, self.model, mode, &self.tree, prompt, self.tokens)
    }

    /// Each text by itself, on as many threads as there are.
    fn say_all(&self, prompts: &[Vec<u8>], said: &mut [Said], grain: usize, join: &dyn Join) {
        if prompts.len() <= grain.max(1) {
            for (prompt, said) in prompts.iter().zip(said) {
                *said = self.say(self.mode, prompt);
            }
            return;
        }
        let middle = prompts.len() / 2;
        let (low, high) = said.split_at_mut(middle);
        join.join(
            || self.say_all(&prompts[..middle], low, grain, join),
            || self.say_all(&prompts[middle..], high, grain, join),
        );
    }

    fn answer(&self, task: u64, join: &dyn Join) -> (Vec<Said>, Answer) {
        let prompts = self.prompts(task);
        let mut said = vec![Said::default(); prompts.len()];
        self.say_all(prompts, &mut said, prompts.len().div_ceil(join.width().max(1)), join);
        let mut digest = Digest::new();
        let (mut tokens, mut passes) = (0, 0);
        for said in &said {
            tokens += said.tokens.len();
            passes += said.accepted.len();
            for token in &said.tokens {
                digest.push(u64::from(*token));
            }
            for accepted in &said.accepted {
                digest.push(*accepted as u64);
            }
        }
        let digest = digest.value();
        let answer = Answer {
            text: format!("{tokens} tokens in {passes} passes, digest {digest:016x}"),
            words: vec![tokens as u64, passes as u64, digest],
        };
        (said, answer)
    }

    /// What the definition says against the tokens said after a prompt, or `None`.
    fn against_definition(&self, prompt: &[u8], said: &Said) -> Option<String> {
        let count = said.tokens.len().min(CHECKED);
        let text = [prompt, &said.tokens[..count - 1]].concat();
        let logits = oracle::logits(self.model, &text, prompt.len() - 1);
        // The first token of each pass is the base model's likeliest, whatever the mode.
        let mut starts = said.accepted.iter().scan(0, |next, accepted| {
            let start = *next;
            *next += accepted;
            Some(start)
        });
        let mut start = starts.next();
        for (place, logits) in logits.chunks_exact(VOCABULARY).enumerate() {
            let token = said.tokens[place];
            let first = start == Some(place);
            if first {
                start = starts.next();
            }
            match self.mode {
                Mode::Typical(rule) if !first => {
                    let judged = rule.judge(logits.iter().copied());
                    let p = judged.probabilities[usize::from(token)];
                    // A logit that is wrong by the margin makes p wrong by that share of it, and
                    // the threshold by the share that the entropy is wrong by.
                    if p * (1.0 + SLACK) <= judged.threshold * (1.0 - SLACK) {
                        return Some(format!(
                            "token {place} has probability {p}, which is not typical: the threshold is {}",
                            judged.threshold
                        ));
                    }
                }
                _ => {
                    if !oracle::allows(logits, token) {
                        return Some(format!(
                            "token {place} is {token}, which by the definition is not the likeliest"
                        ));
                    }
                }
            }
        }
        None
    }
}

/// How far a probability may be off against its threshold.
const SLACK: f64 = 0.2;

impl Prepared for Texts {
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        let (said, answer) = self.answer(task, join);
        for said in &said {
            self.tally
                .passes
                .fetch_add(said.accepted.len() as u64, Ordering::Relaxed);
            let kept: usize = said.accepted.iter().sum();
            self.tally.kept.fetch_add(kept as u64, Ordering::Relaxed);
            for (head, guessed) in said.guessed.iter().enumerate().take(NAMED) {
                self.tally.compared[head].fetch_add(guessed.compared as u64, Ordering::Relaxed);
                self.tally.right[head].fetch_add(guessed.right as u64, Ordering::Relaxed);
            }
        }
        answer
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let refuse = |message| Err(Mismatch { task, message });
        let (said, again) = self.answer(task, &crate::Sequential);
        if answer.words != again.words {
            return refuse(format!("{}, but once more it is {}", answer.text, again.text));
        }
        let prompts = self.prompts(task);
        if self.mode == Mode::Greedy {
            for (at, (prompt, said)) in prompts.iter().zip(&said).enumerate() {
                let plain = self.say(Mode::Plain, prompt);
                if let Some(place) = (0..plain.tokens.len()).find(|place| plain.tokens[*place] != said.tokens[*place]) {
                    return refuse(format!("text {at} differs from plain decoding from token {place} on"));
                }
            }
        }
        match self.against_definition(&prompts[0], &said[0]) {
            Some(message) => refuse(message),
            None => Ok(()),
        }
    }

    fn facts(&self) -> Vec<Fact> {
        const HEADS: [&str; NAMED] = [
            "head_1_accuracy",
            "head_2_accuracy",
            "head_3_accuracy",
            "head_4_accuracy",
            "head_5_accuracy",
        ];
        let share = |part: &AtomicU64, whole: &AtomicU64| {
            part.load(Ordering::Relaxed) as f64 / whole.load(Ordering::Relaxed).max(1) as f64
        };
        let mean = share(&self.tally.kept, &self.tally.passes);
        let cost = match self.mode {
            Mode::Plain => Some(1.0),
            _ => self.model.costs.get(self.tree.len() - 1).copied(),
        };
        let mut facts = vec![Fact {
            name: "mean_accepted_length",
            unit: "tokens",
            meaning: "kept in a pass; plain decoding keeps 1",
            value: mean,
        }];
        if let Some(cost) = cost {
            facts.push(Fact {
                name: "expected_acceleration",
                unit: "1",
                meaning: "over plain decoding: tokens kept in a pass over its cost, as measured when the model was made",
                value: mean / cost,
            });
        }
        if self.mode != Mode::Plain && self.tree.len() > 1 {
            for (head, name) in HEADS.into_iter().enumerate().take(self.model.shape.drafts) {
                facts.push(Fact {
                    name,
                    unit: "1",
                    meaning: "share of the tokens so many places ahead that the head's first guess told right",
                    value: share(&self.tally.right[head], &self.tally.compared[head]),
                });
            }
        }
        facts
    }
}

fn choices(case: &Case<'_>) -> Result<Tree, BadInput> {
    let refuse = |why: String| BadInput::new("choices", why);
    let given = case
        .optional("choices")
        .ok_or_else(|| refuse("is missing; give an array of paths: [[0], [1], [0, 0]]".to_owned()))?;
    let Value::Array(paths) = given else {
        return Err(refuse(format!("is {}; give an array of paths", kind(given))));
    };
    if paths.len() >= MOST_NODES {
        return Err(refuse(format!(
            "holds {} paths; give at most {}",
            paths.len(),
            MOST_NODES - 1
        )));
    }
    let mut read = Vec::with_capacity(paths.len());
    for (at, path) in paths.iter().enumerate() {
        let Value::Array(ranks) = path else {
            return Err(refuse(format!(
                "element {at} is {}; give a path: an array of ranks",
                kind(path)
            )));
        };
        // A path has every prefix among the choices.
        if ranks.len() > paths.len() {
            return Err(refuse(format!(
                "element {at} is {} long, but there are only {} choices, and each must have its parent among them",
                ranks.len(),
                paths.len()
            )));
        }
        let ranks: Option<Vec<usize>> = ranks
            .iter()
            .map(|rank| rank.as_u64().and_then(|rank| usize::try_from(rank).ok()))
            .collect();
        read.push(ranks.ok_or_else(|| refuse(format!("element {at} must hold whole numbers of at least 0")))?);
    }
    Tree::new(&read)
}

fn tree_case(case: &Case<'_>) -> Result<Value, BadInput> {
    let tree = choices(case)?;
    let nodes = tree.len();
    let mask: Vec<Vec<u8>> = (0..nodes)
        .map(|node| {
            let mut row = vec![0; nodes];
            for ancestor in tree.path(node) {
                row[ancestor] = 1;
            }
            row
        })
        .collect();
    Ok(json!({
        "nodes": nodes,
        "mask": mask,
        "depth": (0..nodes).map(|node| tree.depth(node)).collect::<Vec<_>>(),
        "parent": (0..nodes).map(|node| tree.parent(node)).collect::<Vec<_>>(),
    }))
}

fn rule(case: &Case<'_>, default: Option<Typical>) -> Result<Typical, BadInput> {
    let one = |name: &str, default: Option<f64>| match default {
        Some(default) => case.number_or(name, default),
        None => case.number(name),
    };
    let rule = Typical {
        epsilon: one("epsilon", default.map(|rule| rule.epsilon))?,
        delta: one("delta", default.map(|rule| rule.delta))?,
        temperature: one("temperature", default.map(|rule| rule.temperature).or(Some(1.0)))?,
    };
    for (name, value) in [("epsilon", rule.epsilon), ("delta", rule.delta)] {
        // Written so that NaN is refused too.
        if !(value >= 0.0 && value.is_finite()) {
            return Err(BadInput::new(name, format!("is {value}; give a number of at least 0")));
        }
    }
    if !(rule.temperature > 0.0 && rule.temperature.is_finite()) {
        return Err(BadInput::new(
            "temperature",
            format!("is {}; give a number above 0", rule.temperature),
        ));
    }
    Ok(rule)
}

fn typical_case(case: &Case<'_>) -> Result<Value, BadInput> {
    let logits = case.numbers("logits")?;
    let rule = rule(case, None)?;
    if let Some(at) = logits
        .iter()
        .position(|logit| logit.is_nan() || *logit == f64::INFINITY)
    {
        return Err(BadInput::new(
            "logits",
            format!(
                "element {at} is {}; give finite numbers, or -Infinity for what cannot be",
                logits[at]
            ),
        ));
    }
    if !logits.iter().any(|logit| logit.is_finite()) {
        return Err(BadInput::new("logits", "holds no finite number; give at least one"));
    }
    let judged = rule.judge(logits.iter().copied());
    let accept: Vec<bool> = judged.probabilities.iter().map(|p| *p > judged.threshold).collect();
    Ok(json!({
        "entropy": told(judged.entropy),
        "threshold": told(judged.threshold),
        "accept": accept,
    }))
}

fn greedy_case(case: &Case<'_>) -> Result<Value, BadInput> {
    let tree = choices(case)?;
    let tokens = case.integers("node_tokens")?;
    let after = case.integers("base_argmax_after_node")?;
    for (name, held) in [("node_tokens", tokens.len()), ("base_argmax_after_node", after.len())] {
        if held != tree.len() {
            return Err(BadInput::new(
                name,
                format!(
                    "holds {held} values, but the tree has {} nodes: node 0 and one for each choice, sorted by depth and then by path",
                    tree.len()
                ),
            ));
        }
    }
    let path = greedy(&tree, &tokens, &after);
    let accepted: Vec<i64> = path[1..].iter().map(|node| tokens[*node]).collect();
    Ok(json!({
        "accepted_draft_tokens": accepted,
        "path_nodes": path,
        "bonus_token": after[path[path.len() - 1]],
    }))
}

fn generate_case(case: &Case<'_>) -> Result<Value, BadInput> {
    let prompt = alphabet::tokens(case.text("prompt")?).map_err(|symbol| {
        BadInput::new(
            "prompt",
            format!(
                "holds {symbol:?}, which the model has never seen; it knows letters, spaces, new lines and {}",
                "!'(),-.:;?"
            ),
        )
    })?;
    let count = case.count("tokens")?;
    let room = Shape::CONTEXT;
    if prompt.is_empty() || prompt.len() >= room {
        return Err(BadInput::new(
            "prompt",
            format!("is {} characters long; give 1 to {}", prompt.len(), room - 1),
        ));
    }
    if count == 0 || count > room - prompt.len() {
        return Err(BadInput::new(
            "tokens",
            format!(
                "is {count}; give 1 to {}: with the prompt's {} the model looks back on {room}",
                room - prompt.len(),
                prompt.len()
            ),
        ));
    }
    let usual = Typical {
        epsilon: 0.09,
        delta: 0.3,
        temperature: 1.0,
    };
    let mode = match case.choice("mode", &["plain", "greedy", "typical"])? {
        0 => Mode::Plain,
        1 => Mode::Greedy,
        _ => Mode::Typical(rule(case, Some(usual))?),
    };
    let model = Model::shipped();
    let nodes = match case.optional("nodes") {
        None => model.best_size(),
        Some(value) => match number(value) {
            Ok(nodes) if nodes.fract() == 0.0 && (1.0..=64.0).contains(&nodes) => nodes as usize,
            _ => {
                return Err(BadInput::new(
                    "nodes",
                    format!("is {value}; give a whole number from 1 to 64"),
                ));
            }
        },
    };
    let tree = model.tree(nodes);
    let mut decoder = Decoder::new(model, prompt.len() + count + tree.len(), tree.len().max(PROMPT_ROWS));
    // In turns, and the least of each, so that a machine that is busy meanwhile is fair to both.
    let mut timed = |mode| {
        decoder.clear();
        decoder.read(&prompt);
        let stopwatch = Stopwatch::start();
        let said = go_on(&mut decoder, model, mode, &tree, count);
        (said, stopwatch.elapsed().as_secs_f64())
    };
    let (mut said, mut seconds, mut plain_seconds) = (Said::default(), f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        plain_seconds = timed(Mode::Plain).1.min(plain_seconds);
        let (now, time) = timed(mode);
        (said, seconds) = (now, time.min(seconds));
    }
    let kept: usize = said.accepted.iter().sum();
    let mut answer = Map::new();
    answer.insert("text".to_owned(), json!(alphabet::text(&said.tokens)));
    answer.insert("tokens".to_owned(), json!(said.tokens));
    answer.insert("accepted_lengths".to_owned(), json!(said.accepted));
    answer.insert(
        "mean_accepted_length".to_owned(),
        told(kept as f64 / said.accepted.len() as f64),
    );
    answer.insert("seconds".to_owned(), told(seconds));
    if mode == Mode::Plain {
        return Ok(Value::Object(answer));
    }
    answer.insert("nodes".to_owned(), json!(tree.len()));
    answer.insert("plain_seconds".to_owned(), told(plain_seconds));
    answer.insert("acceleration".to_owned(), told(plain_seconds / seconds));
    Ok(Value::Object(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{OnThreads, solve};
    use crate::{ParamValue, Sequential};

    fn params(given: &[(&str, ParamValue)]) -> Params {
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        Params::resolve(&ABOUT, &given).unwrap()
    }

    fn mode(name: &str) -> (&'static str, ParamValue) {
        ("mode", ParamValue::Text(name.to_owned()))
    }

    /// The trained model, on many prompts it has never seen, with trees of every size.
    #[test]
    fn greedy_says_exactly_what_plain_decoding_says() {
        let model = Model::shipped();
        let text = alphabet::tokens(HELD_OUT).unwrap();
        let mut decoder = Decoder::new(model, 256 + 64, 64);
        for (at, prompt) in text.chunks_exact(900).map(|chunk| &chunk[..40]).enumerate() {
            let plain = generate(&mut decoder, model, Mode::Plain, &Tree::root(), prompt, 128);
            for nodes in [2, 4, 7, [1, 3, 5, 6, 12, 33, 64][at % 7]] {
                let medusa = generate(&mut decoder, model, Mode::Greedy, &model.tree(nodes), prompt, 128);
                assert_eq!(medusa.tokens, plain.tokens, "prompt {at}, {nodes} nodes");
                assert!(medusa.accepted.len() <= plain.accepted.len());
            }
        }
    }

    /// The margin that a near tie is given is several times what rounding does.
    #[test]
    fn decoding_is_well_within_the_margin_of_the_definition() {
        let model = Model::shipped();
        let text = &alphabet::tokens(HELD_OUT).unwrap()[5000..5100];
        let expected = oracle::logits(model, text, 0);
        let mut decoder = Decoder::new(model, 128, 16);
        let mut worst = 0.0_f64;
        for (token, expected) in text.iter().zip(expected.chunks_exact(VOCABULARY)) {
            decoder.pass(&[*token], &Tree::root());
            decoder.keep(&[0]);
            for (ours, theirs) in decoder.logits(0).iter().zip(expected) {
                worst = worst.max((f64::from(*ours) - theirs).abs());
            }
        }
        println!("worst {worst}");
        assert!(worst < oracle::MARGIN / 2.0, "{worst}");
    }

    #[test]
    fn every_mode_runs_verifies_and_reports() {
        for name in ["plain", "greedy", "typical"] {
            let params = params(&[
                mode(name),
                ("texts", ParamValue::Integer(3)),
                ("tokens", ParamValue::Integer(50)),
                ("nodes", ParamValue::Integer(6)),
            ]);
            let prepared = Medusa.prepare(&params, 5).unwrap();
            let answer = prepared.run(1, &Sequential);
            assert_eq!(prepared.run(1, &OnThreads(3)), answer, "{name}");
            assert_eq!(prepared.verify(1, &answer), Ok(()), "{name}");
            let facts = prepared.facts();
            assert_eq!(facts[0].name, "mean_accepted_length");
            assert_eq!(facts[0].value > 1.5, name != "plain", "{name}: {facts:?}");
            assert_eq!(facts.len(), if name == "plain" { 2 } else { 7 });
        }
    }

    #[test]
    fn a_text_of_one_token_and_one_that_fills_the_context() {
        for (prompt, tokens, nodes) in [(1, 1, 1), (1, 2, 64), (64, 192, 9)] {
            let params = params(&[
                ("prompt", ParamValue::Integer(prompt)),
                ("tokens", ParamValue::Integer(tokens)),
                ("nodes", ParamValue::Integer(nodes)),
            ]);
            let prepared = Medusa.prepare(&params, 6).unwrap();
            let answer = prepared.run(0, &Sequential);
            assert_eq!(answer.words[0], tokens as u64);
            assert_eq!(prepared.verify(0, &answer), Ok(()));
        }
    }

    #[test]
    fn a_text_that_the_model_would_not_say_is_told() {
        let prepared = Texts {
            model: Model::shipped(),
            mode: Mode::Greedy,
            tree: Tree::root(),
            tokens: 20,
            prompts: vec![vec![alphabet::tokens("And the LORD said unto ").unwrap()]],
            tally: Tally::default(),
        };
        let prompt = &prepared.prompts[0][0];
        let mut said = prepared.say(Mode::Plain, prompt);
        assert_eq!(prepared.against_definition(prompt, &said), None);
        said.tokens[7] ^= 1;
        let told = prepared.against_definition(prompt, &said).unwrap();
        assert!(told.starts_with("token 7 is"), "{told}");
    }

    #[test]
    fn the_cases_of_the_paper() {
        let check = |input: &str, expected: &str| assert_eq!(solve(&Medusa, input).unwrap(), expected);
        check(
            r#"{"op":"tree","choices":[]}"#,
            r#"{"depth":[0],"mask":[[1]],"nodes":1,"parent":[null]}"#,
        );
        check(
            r#"{"op":"greedy_verify","choices":[[0],[1],[0,0],[0,1]],"node_tokens":[5,8,9,3,4],"base_argmax_after_node":[8,4,0,7,11]}"#,
            r#"{"accepted_draft_tokens":[8,4],"bonus_token":11,"path_nodes":[0,1,4]}"#,
        );
        check(
            r#"{"op":"greedy_verify","choices":[[0]],"node_tokens":[5,8],"base_argmax_after_node":[9,4]}"#,
            r#"{"accepted_draft_tokens":[],"bonus_token":9,"path_nodes":[0]}"#,
        );
        check(
            r#"{"op":"typical","logits":[0,"-Infinity"],"epsilon":0.5,"delta":0.25,"temperature":0.5}"#,
            r#"{"accept":[true,false],"entropy":0.0,"threshold":0.25}"#,
        );
    }

    #[test]
    fn a_generated_text_is_the_same_in_plain_and_greedy_mode() {
        let said = |mode: &str| {
            let case = json!({"op": "generate", "prompt": "And God said", "tokens": 40, "mode": mode});
            Medusa.solve(&case, &Sequential).unwrap()
        };
        let (plain, greedy, typical) = (said("plain"), said("greedy"), said("typical"));
        assert_eq!(plain["tokens"], greedy["tokens"]);
        assert_eq!(plain["text"], greedy["text"]);
        assert_eq!(plain["accepted_lengths"].as_array().unwrap().len(), 40);
        for medusa in [&greedy, &typical] {
            let kept: u64 = medusa["accepted_lengths"]
                .as_array()
                .unwrap()
                .iter()
                .map(|length| length.as_u64().unwrap())
                .sum();
            assert!(kept >= 40);
            assert_eq!(medusa["tokens"].as_array().unwrap().len(), 40);
            assert!(medusa["acceleration"].as_f64().unwrap() > 0.0);
        }
    }

    #[test]
    fn bad_cases_are_refused_by_name() {
        for (input, expected) in [
            (
                r#"{"op":"trees","choices":[]}"#,
                "op: `trees` is not known; did you mean `tree`?",
            ),
            (r#"{"op":"tree"}"#, "choices: is missing"),
            (r#"{"op":"tree","choices":3}"#, "choices: is a number"),
            (r#"{"op":"tree","choices":[0]}"#, "choices: element 0 is a number"),
            (
                r#"{"op":"tree","choices":[[-1]]}"#,
                "choices: element 0 must hold whole numbers",
            ),
            (
                r#"{"op":"tree","choices":[[0.5]]}"#,
                "choices: element 0 must hold whole numbers",
            ),
            (r#"{"op":"tree","choices":[[0,1]]}"#, "choices: element 0 is 2 long"),
            (
                r#"{"op":"tree","choices":[[1],[0,1]]}"#,
                "choices: [0, 1] has no parent among the choices; give [0] too",
            ),
            (r#"{"op":"tree","choices":[[]]}"#, "choices: [] is empty"),
            (
                r#"{"op":"tree","choices":[],"logits":[]}"#,
                "logits: is not a field of this case",
            ),
            (
                r#"{"op":"typical","logits":[],"epsilon":0.1,"delta":0.1}"#,
                "logits: holds no finite number",
            ),
            (
                r#"{"op":"typical","logits":["NaN"],"epsilon":0.1,"delta":0.1}"#,
                "logits: element 0 is NaN",
            ),
            (
                r#"{"op":"typical","logits":[1],"epsilon":-1,"delta":0.1}"#,
                "epsilon: is -1",
            ),
            (
                r#"{"op":"typical","logits":[1],"epsilon":1,"delta":"NaN"}"#,
                "delta: is NaN",
            ),
            (
                r#"{"op":"typical","logits":[1],"epsilon":1,"delta":1,"temperature":0}"#,
                "temperature: is 0",
            ),
            (r#"{"op":"typical","logits":[1],"delta":1}"#, "epsilon: is missing"),
            (
                r#"{"op":"greedy_verify","choices":[[0]],"node_tokens":[1],"base_argmax_after_node":[1,2]}"#,
                "node_tokens: holds 1 values, but the tree has 2 nodes",
            ),
            (
                r#"{"op":"generate","prompt":"","tokens":1,"mode":"plain"}"#,
                "prompt: is 0 characters long",
            ),
            (
                r#"{"op":"generate","prompt":"7","tokens":1,"mode":"plain"}"#,
                "prompt: holds '7'",
            ),
            (
                r#"{"op":"generate","prompt":"a","tokens":256,"mode":"plain"}"#,
                "tokens: is 256; give 1 to 255",
            ),
            (
                r#"{"op":"generate","prompt":"a","tokens":0,"mode":"plain"}"#,
                "tokens: is 0",
            ),
            (
                r#"{"op":"generate","prompt":"a","tokens":1,"mode":"greedy","nodes":65}"#,
                "nodes: is 65",
            ),
            (
                r#"{"op":"generate","prompt":"a","tokens":1,"mode":"fast"}"#,
                "mode: `fast` is not known",
            ),
        ] {
            let refused = solve(&Medusa, input).unwrap_err();
            assert!(refused.starts_with(expected), "{input}: {refused}");
        }
    }
}
