//! Ten algorithms, a file or folder each: input in, checkable answer out.
//!
//! A workload is an entry of the [`CATALOGUE`]. A scenario asks it to [`Workload::prepare`] inputs
//! once from parameters and a seed; pool tasks then [`Prepared::run`] them, each task whole on one
//! thread or forked over the pool through [`Join`], and [`Prepared::verify`] holds an answer
//! against an oracle that shares no code with it. [`Workload::solve`] is the door for a single
//! case given as JSON. Workloads make no threads and read no clock.

mod join;

pub use join::{Join, Sequential, for_each_piece};

use serde_json::Value;

/// The kind of a parameter and its limits; both ends are allowed values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    Integer { min: i64, max: i64 },
    Number { min: f64, max: f64 },
    Choice(&'static [&'static str]),
    Flag,
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamValue {
    Integer(i64),
    Number(f64),
    Text(String),
    Flag(bool),
}

/// One parameter of a workload, as the catalogue lists it.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub meaning: &'static str,
    /// `nodes`, `elements`, or empty.
    pub unit: &'static str,
    pub domain: Domain,
    /// As text, in the form a scenario file would have it.
    pub default: &'static str,
}

/// What the catalogue says of a workload.
#[derive(Debug)]
pub struct About {
    /// As scenario files and the command line name it: `maximum_gap`.
    pub name: &'static str,
    pub title: &'static str,
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// What the threads that run it share.
    pub shared: &'static str,
    /// What is each thread's own.
    pub per_thread: &'static str,
    /// What an answer is checked against.
    pub checked: &'static str,
    /// The JSON case, as an example that `solve` accepts.
    pub input_example: &'static str,
    /// The answer to it.
    pub output_example: &'static str,
    /// Time, memory and source.
    pub notes: &'static str,
}

/// Parameters that were refused. `field` is the parameter's or the JSON field's name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadInput {
    pub field: String,
    pub message: String,
}

/// Parameter values by name; what is not given has its default. Unknown names, wrong kinds and
/// values out of the domain are refused by [`Params::resolve`].
#[derive(Clone, Debug, PartialEq)]
pub struct Params(pub(crate) Vec<(&'static str, ParamValue)>);

impl Params {
    /// Checks what was given against the catalogue and fills in the defaults.
    pub fn resolve(about: &'static About, given: &[(String, ParamValue)]) -> Result<Params, BadInput> {
        let _ = (about, given);
        unimplemented!()
    }
}

/// A wrong answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("task {task}: {message}")]
pub struct Mismatch {
    pub task: u64,
    pub message: String,
}

/// What a task gives back: small, comparable, checkable. `bytes` is the digest or the answer
/// itself where it is short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// For a person: `gap 1234`.
    pub text: String,
    /// For the oracle.
    pub words: Vec<u64>,
}

/// One entry of the catalogue.
pub trait Workload: Send + Sync {
    fn about(&self) -> &'static About;

    /// Bytes that inputs and working memory of `workers` concurrent tasks will take, before anything is made.
    fn memory_bytes(&self, params: &Params, workers: usize) -> u64;

    /// Makes the inputs that all tasks of one load share. Deterministic in `params` and `seed`.
    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput>;

    /// Answers one case given as JSON; the shapes are in [`About`].
    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput>;
}

/// Inputs ready to be worked on by many threads at once.
pub trait Prepared: Send + Sync {
    /// Does task number `task`: which of the inputs it takes depends on the number alone.
    fn run(&self, task: u64, join: &dyn Join) -> Answer;

    /// Checks an answer of `run(task, …)` against the oracle. May cost more than the task itself.
    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch>;
}

/// All workloads, in the order the catalogue lists them.
pub static CATALOGUE: &[&dyn Workload] = &[];

/// The workload of this name.
pub fn find(name: &str) -> Option<&'static dyn Workload> {
    CATALOGUE.iter().copied().find(|workload| workload.about().name == name)
}
