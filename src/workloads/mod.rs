//! Ten algorithms, a file or folder each: input in, checkable answer out.
//!
//! A workload is an entry of the [`CATALOGUE`]. A scenario asks it to [`Workload::prepare`] inputs
//! once from parameters and a seed; pool tasks then [`Prepared::run`] them, each task whole on one
//! thread or forked over the pool through [`Join`], and [`Prepared::verify`] holds an answer
//! against an oracle that shares no code with it. [`Workload::solve`] is the door for a single
//! case given as JSON. Workloads make no threads, and tasks read no clock.

pub mod allreduce;
mod combination_sum;
mod digest;
pub mod flash_attention;
pub mod geometry;
mod join;
mod json;
pub mod linear;
mod lowest_common_ancestor;
mod maximum_gap;
pub mod medusa;
mod merge_sorted_array;
pub mod mixed_precision;
mod nearest;
mod params;
mod random;
mod stopwatch;
pub mod upsampling;

pub use allreduce::Allreduce;
pub use combination_sum::{CombinationSum, combinations, count_combinations, search_count};
pub use flash_attention::FlashAttention;
pub use geometry::Geometry;
pub use join::{Join, Sequential, for_each_piece};
pub use lowest_common_ancestor::{
    AncestorIndex, Inlabel, LowestCommonAncestor, Preorder, Tree, answer_all, by_traversal,
};
pub use maximum_gap::{MaximumGap, maximum_gap};
pub use medusa::Medusa;
pub use merge_sorted_array::{MergeSortedArray, merge};
pub use mixed_precision::MixedPrecision;
pub use nearest::nearest;
pub use params::{BadInput, Domain, ParamValue, Parameter, Params};
pub use upsampling::Upsampling;

use serde_json::Value;

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

    /// What the tasks so far measured of themselves, for the run's report: `mean accepted length`.
    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }
}

/// A figure that a workload reports beside times and counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// In snake_case, without the unit: `mean_accepted_length`.
    pub name: &'static str,
    /// `tokens`, `bytes`, `seconds`, `1` for a plain number or a share of one.
    pub unit: &'static str,
    pub meaning: &'static str,
    pub value: f64,
}

/// All workloads, in the order the catalogue lists them.
pub static CATALOGUE: &[&dyn Workload] = &[
    &LowestCommonAncestor,
    &MergeSortedArray,
    &MaximumGap,
    &CombinationSum,
    &FlashAttention,
    &Upsampling,
    &Geometry,
    &MixedPrecision,
    &Allreduce,
    &Medusa,
];

/// The workload of this name.
pub fn find(name: &str) -> Option<&'static dyn Workload> {
    CATALOGUE.iter().copied().find(|workload| workload.about().name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool for tests: forks onto real threads, as wide as it says.
    pub(super) struct OnThreads(pub usize);

    impl Join for OnThreads {
        fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
            std::thread::scope(|scope| {
                scope.spawn(b);
                a();
            });
        }

        fn width(&self) -> usize {
            self.0
        }
    }

    /// The command line's path, text to text.
    pub(super) fn solve(workload: &dyn Workload, input: &str) -> Result<String, String> {
        let input: Value = serde_json::from_str(input).unwrap();
        let sequential = workload.solve(&input, &Sequential);
        let forked = workload.solve(&input, &OnThreads(2));
        assert_eq!(sequential, forked);
        sequential
            .map(|answer| answer.to_string())
            .map_err(|bad| bad.to_string())
    }

    fn defaults(workload: &dyn Workload) -> Params {
        Params::resolve(workload.about(), &[]).unwrap()
    }

    #[test]
    fn names_are_unique_and_found() {
        for workload in CATALOGUE {
            let name = workload.about().name;
            assert!(std::ptr::eq(find(name).unwrap().about(), workload.about()), "{name}");
        }
        assert!(find("maximum_gab").is_none());
    }

    #[test]
    fn every_example_gives_the_answer_it_promises() {
        for workload in CATALOGUE {
            let about = workload.about();
            assert_eq!(
                solve(*workload, about.input_example).unwrap(),
                about.output_example,
                "{}",
                about.name
            );
        }
    }

    #[test]
    fn every_default_is_in_its_domain() {
        for workload in CATALOGUE {
            let given: Vec<_> = workload
                .about()
                .parameters
                .iter()
                .map(|parameter| (parameter.name.to_owned(), parameter.default_value()))
                .collect();
            assert_eq!(
                Params::resolve(workload.about(), &given),
                Ok(defaults(*workload)),
                "{}",
                workload.about().name
            );
        }
    }

    #[test]
    fn tasks_verify_repeat_and_differ_and_forking_changes_nothing() {
        for workload in CATALOGUE {
            let name = workload.about().name;
            let params = defaults(*workload);
            let prepared = workload.prepare(&params, 42).unwrap();
            let again = workload.prepare(&params, 42).unwrap();
            let other = workload.prepare(&params, 43).unwrap();
            let mut answers = Vec::new();
            for task in 0..4 {
                let answer = prepared.run(task, &Sequential);
                assert_eq!(prepared.verify(task, &answer), Ok(()), "{name}");
                assert_eq!(prepared.run(task, &OnThreads(2)), answer, "{name} forked");
                assert_eq!(again.run(task, &Sequential), answer, "{name} with the same seed");
                answers.push(answer);
            }
            assert!(
                answers.iter().any(|answer| *answer != answers[0]),
                "{name}: all tasks are alike"
            );
            assert!(
                (0..4).any(|task| other.run(task, &Sequential) != answers[task as usize]),
                "{name}: the seed changes nothing"
            );
        }
    }

    #[test]
    fn a_wrong_answer_is_told() {
        for workload in CATALOGUE {
            let prepared = workload.prepare(&defaults(*workload), 1).unwrap();
            let mut answer = prepared.run(3, &Sequential);
            *answer.words.last_mut().unwrap() ^= 1;
            let mismatch = prepared.verify(3, &answer).unwrap_err();
            assert_eq!(mismatch.task, 3);
            assert!(!mismatch.message.is_empty(), "{}", workload.about().name);
        }
    }

    #[test]
    fn the_largest_task_number_is_a_task_too() {
        for workload in CATALOGUE {
            let prepared = workload.prepare(&defaults(*workload), 1).unwrap();
            let answer = prepared.run(u64::MAX, &Sequential);
            assert_eq!(prepared.verify(u64::MAX, &answer), Ok(()));
        }
    }
}
