//! Combination sum: which multisets of the candidates add up to the target.
//!
//! With `reuse` a candidate may be taken any number of times; without, each of the given ones at
//! most once, and equal ones are told apart only by how many there are, so no set comes twice.
//!
//! The search goes through the sorted candidates in ascending order, which gives the combinations
//! in lexicographic order and makes the end of a branch cheap: once the rest is less than twice
//! the next candidate, the only way on is a single candidate equal to the rest, and a look-up says
//! whether there is one. The search keeps its own stack, so a target of many small parts can't
//! overflow the thread's; and it forks on its upper branches, whose results are appended in order.
//!
//! The number of combinations can explode. [`Limits`] bound the results and the steps, and a case
//! beyond them is refused. Counting alone has a second way, by dynamic programming over sums,
//! which the tasks use as their oracle.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::digest::Digest;
use super::json::Case;
use super::random::Random;
use super::{About, Answer, BadInput, Domain, Join, Mismatch, Parameter, Params, Prepared, Workload};

/// Where a search gives up.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Combinations listed.
    combinations: u64,
    /// Numbers in all listed combinations together.
    numbers: u64,
    /// Numbers in one combination, which is the depth of the search.
    depth: u64,
    steps: u64,
}

const LIMITS: Limits = Limits {
    combinations: 1_000_000,
    numbers: 10_000_000,
    depth: 1_000_000,
    steps: 2_000_000_000,
};

/// Counting by dynamic programming: so many sums, and so many additions, at most.
const MOST_SUMS: u64 = 10_000_000;
const MOST_ADDITIONS: u64 = 2_000_000_000;

/// Forks happen this near to the root; below, branches are too short.
const FORK_DEPTH: usize = 3;

/// Sums up to this are looked up in a table: the rests of nearly every search.
const MOST_LOOKED_UP: u64 = 1 << 16;

/// How often a search tells its steps and looks whether another piece has hit a limit.
const REPORT: u64 = 1024;
/// Also after so many numbers listed: a thousand steps can find a thousand long combinations.
const REPORT_NUMBERS: u64 = 1 << 16;

/// Why a search found no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum TooMuch {
    // One ending for both limits: which of them is met first depends on how the search is forked.
    #[error(
        "the combinations are more than {} or hold more than {} numbers together, the most that are listed; \
         lower the target, give fewer candidates or set count_only",
        LIMITS.combinations,
        LIMITS.numbers
    )]
    Results,
    #[error(
        "a combination could hold more than {} numbers (the target is that many times the least candidate), which is the most",
        LIMITS.depth
    )]
    Depth,
    #[error("the search takes more than {} steps, the most it may; lower the target or give fewer candidates", LIMITS.steps)]
    Steps,
    #[error("there are more than 2^64 - 1 combinations")]
    Count,
}

/// All combinations in ascending lexicographic order, each ascending.
///
/// Refuses a candidate below 1 (with one, there could be combinations without end), and results
/// beyond a million combinations or ten million numbers.
pub fn combinations(candidates: &[i64], target: i64, reuse: bool, join: &dyn Join) -> Result<Vec<Vec<i64>>, BadInput> {
    Ok(listed(candidates, target, reuse, join)?
        .iter()
        .map(<[i64]>::to_vec)
        .collect())
}

fn listed(candidates: &[i64], target: i64, reuse: bool, join: &dyn Join) -> Result<List, BadInput> {
    let candidates = checked(candidates)?;
    list(&candidates, target, reuse, join).map_err(|why| BadInput::new("target", why.to_string()))
}

/// How many combinations there are, without listing them.
pub fn count_combinations(candidates: &[i64], target: i64, reuse: bool, join: &dyn Join) -> Result<u64, BadInput> {
    let candidates = checked(candidates)?;
    let counted = match count_by_sums(&candidates, target, reuse) {
        BySums::Exactly(count) => Ok(count),
        BySums::Beyond64Bits => Err(TooMuch::Count),
        BySums::TooDear => count(&candidates, target, reuse, join),
    };
    counted.map_err(|why| BadInput::new("target", why.to_string()))
}

/// The same by visiting every combination: what a counting task does.
pub fn search_count(candidates: &[i64], target: i64, reuse: bool, join: &dyn Join) -> Result<u64, BadInput> {
    let candidates = checked(candidates)?;
    count(&candidates, target, reuse, join).map_err(|why| BadInput::new("target", why.to_string()))
}

fn checked(candidates: &[i64]) -> Result<Vec<u64>, BadInput> {
    candidates
        .iter()
        .enumerate()
        .map(|(at, &value)| match value {
            1.. => Ok(value as u64),
            0 => Err(BadInput::new(
                "candidates",
                format!(
                    "element {at} is 0; candidates must be at least 1, because adding 0 changes no sum: \
                     any combination could go on without end"
                ),
            )),
            _ => Err(BadInput::new(
                "candidates",
                format!(
                    "element {at} is {value}; candidates must be at least 1, because with a negative one sums can fall again \
                     and the search has no end"
                ),
            )),
        })
        .collect()
}

/// Combinations one after the other: far fewer allocations than a `Vec` for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List {
    numbers: Vec<i64>,
    ends: Vec<usize>,
}

impl List {
    fn push(&mut self, path: &[u64], last: Option<u64>) {
        self.numbers
            .extend(path.iter().chain(&last).map(|number| *number as i64));
        self.ends.push(self.numbers.len());
    }

    fn append(&mut self, other: List) {
        if self.ends.is_empty() {
            *self = other;
            return;
        }
        let base = self.numbers.len();
        self.numbers.extend(other.numbers);
        self.ends.extend(other.ends.into_iter().map(|end| base + end));
    }

    fn iter(&self) -> impl Iterator<Item = &[i64]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.numbers[start..end])
    }

    fn len(&self) -> usize {
        self.ends.len()
    }
}

/// What becomes of the combinations a search finds.
trait Gather: Default + Send {
    /// A combination: the path, and one number more unless it is complete as it is.
    fn found(&mut self, path: &[u64], last: Option<u64>);
    /// What another branch found, later in order.
    fn append(&mut self, later: Self);
    /// How many combinations and numbers it holds; both 0 when it holds only a count.
    fn held(&self) -> (u64, u64);
}

impl Gather for List {
    fn found(&mut self, path: &[u64], last: Option<u64>) {
        self.push(path, last);
    }

    fn append(&mut self, later: List) {
        List::append(self, later);
    }

    fn held(&self) -> (u64, u64) {
        (self.ends.len() as u64, self.numbers.len() as u64)
    }
}

/// Only how many. The steps are bounded far below 2^64, and each finds at most one.
impl Gather for u64 {
    fn found(&mut self, _: &[u64], _: Option<u64>) {
        *self += 1;
    }

    fn append(&mut self, later: u64) {
        *self += later;
    }

    fn held(&self) -> (u64, u64) {
        (0, 0)
    }
}

fn list(candidates: &[u64], target: i64, reuse: bool, join: &dyn Join) -> Result<List, TooMuch> {
    search(candidates, target, reuse, join)
}

fn count(candidates: &[u64], target: i64, reuse: bool, join: &dyn Join) -> Result<u64, TooMuch> {
    search(candidates, target, reuse, join)
}

fn search<G: Gather>(candidates: &[u64], target: i64, reuse: bool, join: &dyn Join) -> Result<G, TooMuch> {
    let mut found = G::default();
    let Ok(target) = u64::try_from(target) else {
        // Positive numbers add up to no negative target.
        return Ok(found);
    };
    if target == 0 {
        // One way to add up to nothing: take nothing.
        found.found(&[], None);
        return Ok(found);
    }
    let search = Search::new(candidates, target, reuse);
    if search.depth(target) > LIMITS.depth {
        return Err(TooMuch::Depth);
    }
    search.branch(0, target, &mut Vec::new(), join)
}

struct Search {
    /// Ascending, none above the target; without repeats when they may be reused.
    candidates: Vec<u64>,
    /// Where the next greater candidate is, for each.
    next_greater: Vec<usize>,
    /// For each small sum, the place after the last candidate of that value, or 0.
    after: Vec<u32>,
    reuse: bool,
    spent: Spent,
}

/// What all pieces of a search have used up together.
#[derive(Default)]
struct Spent {
    steps: AtomicU64,
    combinations: AtomicU64,
    numbers: AtomicU64,
}

impl Spent {
    // Relaxed everywhere: the three are only compared with their limits, and a piece that sees
    // them a little late gives up a little later.
    fn add(&self, steps: u64, combinations: u64, numbers: u64) -> Result<(), TooMuch> {
        let over = |sum: &AtomicU64, more, limit| sum.fetch_add(more, Ordering::Relaxed) + more > limit;
        if over(&self.combinations, combinations, LIMITS.combinations) || over(&self.numbers, numbers, LIMITS.numbers) {
            Err(TooMuch::Results)
        } else if over(&self.steps, steps, LIMITS.steps) {
            Err(TooMuch::Steps)
        } else {
            Ok(())
        }
    }
}

/// A place of the search: which candidates are still to be tried, and what they must add up to.
struct Frame {
    start: usize,
    next: usize,
    rest: u64,
}

impl Search {
    fn new(candidates: &[u64], target: u64, reuse: bool) -> Search {
        let mut candidates: Vec<u64> = candidates.iter().copied().filter(|value| *value <= target).collect();
        candidates.sort_unstable();
        if reuse {
            candidates.dedup();
        }
        let mut next_greater = vec![candidates.len(); candidates.len()];
        for at in (1..candidates.len()).rev() {
            next_greater[at - 1] = if candidates[at - 1] == candidates[at] {
                next_greater[at]
            } else {
                at
            };
        }
        let mut after = vec![0_u32; target.min(MOST_LOOKED_UP) as usize + 1];
        for (at, value) in candidates.iter().enumerate() {
            if let Some(place) = after.get_mut(*value as usize) {
                *place = at as u32 + 1;
            }
        }
        Search {
            candidates,
            next_greater,
            after,
            reuse,
            spent: Spent::default(),
        }
    }

    /// How many numbers a combination can hold.
    fn depth(&self, target: u64) -> u64 {
        match self.candidates.first() {
            Some(least) if self.reuse => target / least,
            _ => self.candidates.len() as u64,
        }
    }

    /// The first candidate that may follow the one at this place.
    fn follower(&self, at: usize) -> usize {
        if self.reuse { at } else { at + 1 }
    }

    /// Whether a single candidate from `start` on is the whole rest.
    #[inline]
    fn completes(&self, start: usize, rest: u64) -> bool {
        match self.after.get(rest as usize) {
            Some(after) => *after as usize > start,
            None => self.candidates[start..].binary_search(&rest).is_ok(),
        }
    }

    /// Everything below one place, forked near the root.
    fn branch<G: Gather>(&self, start: usize, rest: u64, path: &mut Vec<u64>, join: &dyn Join) -> Result<G, TooMuch> {
        if path.len() >= FORK_DEPTH || join.width() == 1 {
            return self.walk(start, rest, path);
        }
        // Those that leave room for at least one more as great as themselves.
        let upper = self.candidates.partition_point(|value| *value <= rest / 2);
        let mut found: G = self.fan(start..upper.max(start), start, rest, path, join)?;
        if self.completes(start, rest) {
            found.found(path, Some(rest));
            self.spent.add(1, found.held().0.min(1), 0)?;
        }
        Ok(found)
    }

    /// The branches of one place, halved until each is alone.
    fn fan<G: Gather>(
        &self,
        branches: Range<usize>,
        start: usize,
        rest: u64,
        path: &[u64],
        join: &dyn Join,
    ) -> Result<G, TooMuch> {
        if branches.len() <= 1 {
            let Some(at) = branches.clone().next() else {
                return Ok(G::default());
            };
            let value = self.candidates[at];
            // Of equal candidates only the first leads a branch.
            if at > start && self.candidates[at - 1] == value {
                return Ok(G::default());
            }
            let mut path = path.to_vec();
            path.push(value);
            return self.branch(self.follower(at), rest - value, &mut path, join);
        }
        let middle = branches.start + branches.len() / 2;
        let (low, high) = (branches.start..middle, middle..branches.end);
        let (first, then) = join.join(
            || self.fan::<G>(low, start, rest, path, join),
            || self.fan::<G>(high, start, rest, path, join),
        );
        let mut found = first?;
        found.append(then?);
        Ok(found)
    }

    /// Everything below one place, in a loop.
    fn walk<G: Gather>(&self, start: usize, rest: u64, path: &mut Vec<u64>) -> Result<G, TooMuch> {
        let mut found = G::default();
        let mut told = (0, 0);
        let mut steps = 0;
        let mut stack = vec![Frame {
            start,
            next: start,
            rest,
        }];
        while let Some(frame) = stack.last_mut() {
            steps += 1;
            let held = found.held();
            if steps == REPORT || held.1 - told.1 >= REPORT_NUMBERS {
                self.spent.add(steps, held.0 - told.0, held.1 - told.1)?;
                told = held;
                steps = 0;
            }
            match self.candidates.get(frame.next) {
                Some(&value) if value <= frame.rest / 2 => {
                    let (at, rest) = (frame.next, frame.rest - value);
                    frame.next = self.next_greater[at];
                    let start = self.follower(at);
                    path.push(value);
                    // Most branches end right here; those need no frame.
                    if self.candidates.get(start).is_some_and(|least| *least <= rest / 2) {
                        stack.push(Frame {
                            start,
                            next: start,
                            rest,
                        });
                    } else {
                        if self.completes(start, rest) {
                            found.found(path, Some(rest));
                        }
                        path.pop();
                    }
                }
                _ => {
                    if self.completes(frame.start, frame.rest) {
                        found.found(path, Some(frame.rest));
                    }
                    stack.pop();
                    if !stack.is_empty() {
                        path.pop();
                    }
                }
            }
        }
        let held = found.held();
        self.spent.add(steps, held.0 - told.0, held.1 - told.1)?;
        Ok(found)
    }
}

/// What counting over sums gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BySums {
    Exactly(u64),
    Beyond64Bits,
    /// The target is too great for a table of all sums below it.
    TooDear,
}

impl BySums {
    fn exactly(self) -> Option<u64> {
        match self {
            BySums::Exactly(count) => Some(count),
            BySums::Beyond64Bits | BySums::TooDear => None,
        }
    }
}

/// How many combinations, by dynamic programming over sums.
fn count_by_sums(candidates: &[u64], target: i64, reuse: bool) -> BySums {
    let Ok(target) = u64::try_from(target) else {
        return BySums::Exactly(0);
    };
    if target > MOST_SUMS {
        return BySums::TooDear;
    }
    let target = target as usize;
    let mut candidates: Vec<usize> = candidates
        .iter()
        .filter_map(|value| usize::try_from(*value).ok())
        .filter(|value| *value <= target)
        .collect();
    candidates.sort_unstable();
    if candidates.len() as u64 * target as u64 > MOST_ADDITIONS {
        return BySums::TooDear;
    }
    match ways_in_64_bits(&candidates, target, reuse) {
        Some(count) => BySums::Exactly(count),
        None => match ways_in_128_bits(&candidates, target, reuse) {
            Some(count) => BySums::Exactly(count),
            None => BySums::Beyond64Bits,
        },
    }
}

/// `ways[s]`: combinations of the kinds so far that add up to s. `None` once a number reached 2^63:
/// two below that add up to less than 2^64, so none was wrong before it was seen.
fn ways_in_64_bits(sorted: &[usize], target: usize, reuse: bool) -> Option<u64> {
    const LANES: usize = 4;
    let mut ways = vec![0_u64; target + 1];
    ways[0] = 1;
    for kind in sorted.chunk_by(|a, b| a == b) {
        let value = kind[0];
        let mut seen = 0;
        if reuse {
            // Upwards: what was just written already holds this kind, any number of times. Four sums
            // at once, where none of them stands on another of the four.
            let mut start = value;
            while value >= LANES && start + LANES <= ways.len() {
                let (below, here) = ways.split_at_mut(start);
                let (Some(below), Some(here)) = (
                    below[start - value..].first_chunk::<LANES>(),
                    here.first_chunk_mut::<LANES>(),
                ) else {
                    break;
                };
                for (here, below) in here.iter_mut().zip(below) {
                    *here = here.wrapping_add(*below);
                    seen |= *here;
                }
                start += LANES;
            }
            for sum in start..=target {
                ways[sum] = ways[sum].wrapping_add(ways[sum - value]);
                seen |= ways[sum];
            }
        } else {
            // Downwards: what is below does not hold this kind yet.
            for sum in (value..=target).rev() {
                for taken in 1..=kind.len().min(sum / value) {
                    ways[sum] = ways[sum].wrapping_add(ways[sum - taken * value]);
                    seen |= ways[sum];
                }
            }
        }
        if seen >> 63 == 1 {
            return None;
        }
    }
    Some(ways[target])
}

/// The same where sums on the way outgrow 64 bits: only additions, so one that has outgrown 128
/// bits stays at the top and is told apart at the end.
fn ways_in_128_bits(sorted: &[usize], target: usize, reuse: bool) -> Option<u64> {
    let mut ways = vec![0_u128; target + 1];
    ways[0] = 1;
    for kind in sorted.chunk_by(|a, b| a == b) {
        let value = kind[0];
        if reuse {
            for sum in value..=target {
                ways[sum] = ways[sum].saturating_add(ways[sum - value]);
            }
        } else {
            for sum in (value..=target).rev() {
                for taken in 1..=kind.len().min(sum / value) {
                    ways[sum] = ways[sum].saturating_add(ways[sum - taken * value]);
                }
            }
        }
    }
    u64::try_from(ways[target]).ok()
}

/// The catalogue's entry.
pub struct CombinationSum;

static ABOUT: About = About {
    name: "combination_sum",
    title: "Combination sum",
    summary: "Which combinations of the candidates add up to the target: each as often as wanted, or each once.",
    parameters: &[
        Parameter {
            name: "candidates",
            meaning: "numbers in each input; they may repeat",
            unit: "elements",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "24",
        },
        Parameter {
            name: "largest",
            meaning: "candidates are drawn from 2 to this",
            unit: "",
            domain: Domain::Integer { min: 2, max: 1_000_000 },
            default: "40",
        },
        Parameter {
            name: "target",
            meaning: "the sum",
            unit: "",
            domain: Domain::Integer { min: 0, max: 1_000_000 },
            default: "90",
        },
        Parameter {
            name: "reuse",
            meaning: "whether a candidate may be taken more than once",
            unit: "",
            domain: Domain::Flag,
            default: "true",
        },
        Parameter {
            name: "count_only",
            meaning: "whether combinations are counted only, or listed",
            unit: "",
            domain: Domain::Flag,
            default: "true",
        },
        Parameter {
            name: "inputs",
            meaning: "different inputs that tasks take in turn",
            unit: "inputs",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
    ],
    shared: "the candidates, read only; three counters against the limits, updated every 1024 steps",
    per_thread: "the way to the present place of the search, and the combinations found below it",
    checked: "the count against dynamic programming over sums; lists against an enumeration by how many of each candidate",
    input_example: r#"{"candidates":[2,3,6,7],"target":7,"reuse":true}"#,
    output_example: r#"{"combinations":[[2,2,3],[7]]}"#,
    notes: "With \"count_only\":true the answer is {\"count\":n}. Target 0 has one combination, the empty one; a negative target has none. \
            Candidates below 1 are refused. Limits: 1000000 combinations and 10000000 numbers listed, 1000000 numbers in one combination, \
            2000000000 search steps; beyond them the case is refused. A task counts at most 100000000 combinations or lists at most 20000.",
};

/// A task may count no more than this, or it would take too long;
const MOST_COUNTED: u64 = 100_000_000;
/// and list no more than this, so that what its memory is said to be is not far from what it is.
const MOST_LISTED: u64 = 20_000;

impl Workload for CombinationSum {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        let inputs = params.integer("inputs") as u64;
        let candidates = params.integer("candidates") as u64;
        let target = params.integer("target") as u64;
        let reuse = params.flag("reuse");
        let depth = if reuse { target / 2 } else { candidates.min(target / 2) } + 1;
        // Frames of 24 bytes and numbers of 8, both in vectors that double.
        let walk = depth * 64 + candidates * 24 + 4096;
        // A list is appended piece by piece: twice over, in vectors that double.
        let list = if params.flag("count_only") {
            0
        } else {
            4 * 8 * (MOST_LISTED + LIMITS.numbers.min(MOST_LISTED * depth))
        };
        let oracle = (target + 1) * 16 + list;
        inputs * (candidates * 16 + 64) + workers.max(1) as u64 * (walk + list + oracle)
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let target = params.integer("target");
        let (reuse, count_only) = (params.flag("reuse"), params.flag("count_only"));
        let largest = params.integer("largest") as u64;
        let mut inputs = Vec::new();
        for number in 0..params.size("inputs") {
            let mut random = Random::new(seed, number as u64);
            let candidates: Vec<u64> = (0..params.size("candidates"))
                .map(|_| 2 + random.below(largest - 1))
                .collect();
            let most = if count_only { MOST_COUNTED } else { MOST_LISTED };
            let count = count_by_sums(&candidates, target, reuse).exactly();
            match count {
                Some(count) if count <= most => {}
                _ => {
                    return Err(BadInput::new(
                        "target",
                        format!(
                            "input {number} has more than {most} combinations, the most a task may {}; \
                             lower target or candidates, or raise largest",
                            if count_only { "count" } else { "list" }
                        ),
                    ));
                }
            }
            inputs.push(candidates);
        }
        Ok(Box::new(Sums {
            inputs,
            target,
            reuse,
            count_only,
        }))
    }

    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
        let case = Case::open(input, &["candidates", "target", "reuse", "count_only"])?;
        let candidates = case.integers("candidates")?;
        let target = case.integer("target")?;
        let reuse = case.flag("reuse")?;
        if case.flag_or("count_only", false)? {
            let count = count_combinations(&candidates, target, reuse, join)?;
            return Ok(json!({ "count": count }));
        }
        let found = listed(&candidates, target, reuse, join)?;
        let found: Vec<Value> = found.iter().map(Value::from).collect();
        Ok(json!({ "combinations": found }))
    }
}

struct Sums {
    inputs: Vec<Vec<u64>>,
    target: i64,
    reuse: bool,
    count_only: bool,
}

impl Sums {
    fn input(&self, task: u64) -> &[u64] {
        &self.inputs[(task % self.inputs.len() as u64) as usize]
    }
}

fn digest<'a>(combinations: impl Iterator<Item = &'a [i64]>) -> u64 {
    let mut digest = Digest::new();
    for combination in combinations {
        digest.push(combination.len() as u64);
        for number in combination {
            digest.push(*number as u64);
        }
    }
    digest.value()
}

impl Prepared for Sums {
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        let candidates = self.input(task);
        let words = if self.count_only {
            count(candidates, self.target, self.reuse, join).map(|count| vec![count])
        } else {
            list(candidates, self.target, self.reuse, join).map(|list| vec![list.len() as u64, digest(list.iter())])
        };
        match words {
            Ok(words) => Answer {
                text: format!("{} combinations", words[0]),
                words,
            },
            // Only the steps are not known beforehand. An answer without words verifies as wrong.
            Err(why) => Answer {
                text: why.to_string(),
                words: Vec::new(),
            },
        }
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let candidates = self.input(task);
        let refuse = |message| Err(Mismatch { task, message });
        let expected = count_by_sums(candidates, self.target, self.reuse).exactly();
        if answer.words.first().copied() != expected {
            return refuse(match expected {
                Some(count) => format!("{} but adding up over sums gives {count}", answer.text),
                None => format!("{} but there are more than can be counted", answer.text),
            });
        }
        if self.count_only {
            return Ok(());
        }
        let listed = by_multiplicity(candidates, self.target, self.reuse);
        if answer.words.get(1).copied() != Some(digest(listed.iter().map(Vec::as_slice))) {
            return refuse(
                "the combinations listed are not those that taking each candidate so many times gives".to_owned(),
            );
        }
        Ok(())
    }
}

/// The oracle for lists: decide for the greatest kind of candidate how many of it to take, then
/// for the next; sort at the end. As deep as there are kinds, at most 64 in a task.
fn by_multiplicity(candidates: &[u64], target: i64, reuse: bool) -> Vec<Vec<i64>> {
    fn go(kinds: &[(i64, i64)], rest: i64, chosen: &mut Vec<i64>, found: &mut Vec<Vec<i64>>) {
        if rest == 0 {
            let mut combination = chosen.clone();
            combination.reverse();
            found.push(combination);
            return;
        }
        let Some((&(value, most), lesser)) = kinds.split_last() else {
            return;
        };
        let length = chosen.len();
        for taken in 0..=most.min(rest / value) {
            go(lesser, rest - taken * value, chosen, found);
            chosen.push(value);
        }
        chosen.truncate(length);
    }
    let mut counts = std::collections::BTreeMap::new();
    for candidate in candidates {
        *counts.entry(*candidate as i64).or_insert(0_i64) += 1;
    }
    let kinds: Vec<(i64, i64)> = counts
        .into_iter()
        .map(|(value, count)| (value, if reuse { i64::MAX } else { count }))
        .collect();
    let mut found = Vec::new();
    if target >= 0 {
        go(&kinds, target, &mut Vec::new(), &mut found);
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{OnThreads, solve};
    use crate::{ParamValue, Sequential};
    use proptest::prelude::*;

    fn answer(candidates: &str, target: i64, reuse: bool, more: &str) -> Result<String, String> {
        solve(
            &CombinationSum,
            &format!(r#"{{"candidates":{candidates},"target":{target},"reuse":{reuse}{more}}}"#),
        )
    }

    #[test]
    fn counting_in_64_bits_gives_up_before_it_is_wrong() {
        let all: Vec<usize> = (1..=400).collect();
        let mut only_wide = 0;
        for target in 370..430 {
            let wide = ways_in_128_bits(&all, target, true);
            match ways_in_64_bits(&all, target, true) {
                Some(count) => assert_eq!(Some(count), wide),
                None => only_wide += usize::from(wide.is_some()),
            }
        }
        // Between 2^63 and 2^64 lie a few: there the wide count alone answers.
        assert!(only_wide > 0);
    }

    #[test]
    fn the_shapes_on_the_json_path() {
        for (candidates, target, reuse, expected) in [
            ("[2,3,6,7]", 7, true, "[[2,2,3],[7]]"),
            ("[8,2,5,3]", 8, true, "[[2,2,2,2],[2,3,3],[3,5],[8]]"),
            ("[2]", 1, true, "[]"),
            ("[1]", 2, true, "[[1,1]]"),
            ("[2,2,3]", 5, true, "[[2,3]]"),
            ("[10,1,2,7,6,1,5]", 8, false, "[[1,1,6],[1,2,5],[1,7],[2,6]]"),
            ("[2,5,2,1,2]", 5, false, "[[1,2,2],[5]]"),
            ("[1,1]", 1, false, "[[1]]"),
            ("[1,1,1]", 2, false, "[[1,1]]"),
            ("[]", 3, true, "[]"),
            ("[1,2]", 0, true, "[[]]"),
            ("[1,2]", -3, false, "[]"),
            ("[9223372036854775807]", i64::MAX, true, "[[9223372036854775807]]"),
            (
                "[4611686018427387904,4611686018427387903]",
                i64::MAX,
                false,
                "[[4611686018427387903,4611686018427387904]]",
            ),
        ] {
            assert_eq!(
                answer(candidates, target, reuse, "").unwrap(),
                format!(r#"{{"combinations":{expected}}}"#),
                "{candidates} to {target}"
            );
        }
        assert_eq!(
            answer("[2,3,6,7]", 7, true, r#","count_only":true"#).unwrap(),
            r#"{"count":2}"#
        );
        assert_eq!(
            answer("[1]", 0, true, r#","count_only":true"#).unwrap(),
            r#"{"count":1}"#
        );
        assert_eq!(
            answer("[1]", -1, true, r#","count_only":true"#).unwrap(),
            r#"{"count":0}"#
        );
    }

    #[test]
    fn zero_and_negative_candidates_are_refused_with_the_reason() {
        let refused = answer("[3,0]", 5, true, "").unwrap_err();
        assert!(refused.starts_with("candidates: element 1 is 0; candidates must be at least 1, because"));
        let refused = answer("[-2]", 5, false, "").unwrap_err();
        assert!(refused.starts_with("candidates: element 0 is -2; candidates must be at least 1, because"));
    }

    #[test]
    fn what_would_explode_is_refused_with_the_limit() {
        let all: String = serde_json::to_string(&(1..=60).collect::<Vec<_>>()).unwrap();
        let refused = answer(&all, 120, true, "").unwrap_err();
        assert!(
            refused.starts_with("target: the combinations are more than 1000000"),
            "{refused}"
        );
        let refused = answer("[1,2]", 1_000_000_000, true, "").unwrap_err();
        assert!(
            refused.starts_with("target: a combination could hold more than 1000000 numbers"),
            "{refused}"
        );
        let refused = answer("[1,2]", 20_000, true, "").unwrap_err();
        assert!(
            refused.starts_with("target: the combinations are more than 1000000 or hold more than 10000000 numbers"),
            "{refused}"
        );
        let refused = answer(&all, 5000, true, r#","count_only":true"#).unwrap_err();
        assert!(
            refused.starts_with("target: there are more than 2^64 - 1 combinations"),
            "{refused}"
        );
    }

    #[test]
    fn a_combination_of_many_numbers_needs_no_stack() {
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        let worked = small.spawn(|| {
            let found = combinations(&[1, 400_000], 500_000, true, &Sequential).unwrap();
            assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [500_000, 100_001]);
        });
        worked.unwrap().join().unwrap();
    }

    #[test]
    fn a_count_is_the_same_by_search_and_by_sums() {
        let all: Vec<u64> = (1..=30).collect();
        for reuse in [true, false] {
            let counted = count(&all, 45, reuse, &OnThreads(2)).unwrap();
            assert_eq!(count_by_sums(&all, 45, reuse), BySums::Exactly(counted));
        }
    }

    #[test]
    fn listing_tasks_run_and_verify() {
        for reuse in [true, false] {
            let given = [
                ("count_only".to_owned(), ParamValue::Flag(false)),
                ("reuse".to_owned(), ParamValue::Flag(reuse)),
                ("target".to_owned(), ParamValue::Integer(40)),
            ];
            let params = Params::resolve(&ABOUT, &given).unwrap();
            let prepared = CombinationSum.prepare(&params, 5).unwrap();
            let answer = prepared.run(2, &Sequential);
            assert_eq!(answer, prepared.run(2, &OnThreads(2)));
            assert_eq!(prepared.verify(2, &answer), Ok(()));
            let mut wrong = answer;
            wrong.words[1] ^= 1;
            assert!(prepared.verify(2, &wrong).is_err());
        }
    }

    #[test]
    fn inputs_with_too_many_combinations_are_refused() {
        let given = [("target".to_owned(), ParamValue::Integer(5000))];
        let params = Params::resolve(&ABOUT, &given).unwrap();
        assert_eq!(CombinationSum.prepare(&params, 5).err().unwrap().field, "target");
    }

    proptest! {
        #[test]
        fn it_agrees_with_both_oracles(
            candidates in prop::collection::vec(1_i64..25, 0..12),
            target in -2_i64..40,
            reuse in any::<bool>(),
        ) {
            let found = combinations(&candidates, target, reuse, &Sequential).unwrap();
            let positive: Vec<u64> = candidates.iter().map(|value| *value as u64).collect();
            prop_assert_eq!(&found, &by_multiplicity(&positive, target, reuse));
            prop_assert_eq!(count_by_sums(&positive, target, reuse), BySums::Exactly(found.len() as u64));
            prop_assert_eq!(count(&positive, target, reuse, &Sequential), Ok(found.len() as u64));
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
