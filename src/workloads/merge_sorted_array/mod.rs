//! Merges two sorted arrays in place: the first has room for the second behind its values.
//!
//! Writing from the back never overwrites a value that is still to be read, and needs no memory.
//! The trouble with it is that each step waits for the step before: one value every few cycles,
//! on one thread. So large arrays go in rounds. The room, as long as what is left of `nums2`, is
//! free; the greatest values that fill it come from known parts of both arrays (the merge path:
//! a binary search finds how many from each), and nobody writes to those parts meanwhile. So the
//! room can be cut into pieces that are merged independently, on several threads, and each piece
//! from both its ends at once. Then the array is shorter, with new room at its end, and the next
//! round begins. Extra memory stays O(1).
//!
//! A piece whose one part is several times as long as the other takes many values of the long part
//! at once: [`runs`].

mod runs;

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::digest::Digest;
use super::json::Case;
use super::random::Random;
use super::{About, Answer, BadInput, Domain, Join, Mismatch, Parameter, Params, Prepared, Workload};
use runs::Level;

/// Below this many values a round of its own isn't worth its two binary searches.
const SMALLEST_ROUND: usize = 256;
/// Below this many values a piece isn't worth another thread.
const SMALLEST_PIECE: usize = 16 * 1024;

/// Merges the first `m` values of `nums1` with `nums2` into `nums1`, whose length must be the sum.
pub fn merge(nums1: &mut [i64], m: usize, nums2: &[i64], join: &dyn Join) {
    assert_eq!(nums1.len(), m + nums2.len(), "nums1 has no room for nums2");
    let (mut nums1, mut m, mut nums2) = (nums1, m, nums2);
    // A room much shorter than what is left would mean many rounds; from the back those values
    // are moved in long strides.
    while nums2.len() >= SMALLEST_ROUND && nums2.len() >= m / 512 {
        let (i, j) = split(&nums1[..m], nums2, m);
        let (values, room) = nums1.split_at_mut(m);
        let pieces = (4 * join.width()).min(room.len() / SMALLEST_PIECE).max(1);
        let pieces = if join.width() > 1 { pieces } else { 1 };
        merge_apart(&values[i..], &nums2[j..], room, pieces, join);
        // i + j is the old m: what is still to be filled.
        nums1 = &mut nums1[..m];
        nums2 = &nums2[..j];
        m = i;
    }
    merge_from_the_back(nums1, m, nums2);
}

/// How many of the `count` least values come from `a` and how many from `b`; of equal ones those
/// of `a` come first.
fn split(a: &[i64], b: &[i64], count: usize) -> (usize, usize) {
    let (mut low, mut high) = (count.saturating_sub(b.len()), count.min(a.len()));
    while low < high {
        let middle = low + (high - low) / 2;
        // Is a[middle] among the first `count`? Then more than `middle` come from a.
        if a[middle] <= b[count - middle - 1] {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    (low, count - low)
}

/// Merges `a` and `b` into `out`, which overlaps neither, in so many independent pieces.
fn merge_apart(a: &[i64], b: &[i64], out: &mut [i64], pieces: usize, join: &dyn Join) {
    if pieces <= 1 {
        merge_piece(Level::best(), a, b, out);
        return;
    }
    let half = pieces / 2;
    let (i, j) = split(a, b, out.len() / 2);
    let (low, high) = out.split_at_mut(i + j);
    join.join(
        || merge_apart(&a[..i], &b[..j], low, half, join),
        || merge_apart(&a[i..], &b[j..], high, pieces - half, join),
    );
}

/// Merges `a` and `b` into `out` on this thread.
fn merge_piece(level: Level, a: &[i64], b: &[i64], out: &mut [i64]) {
    if apart(a, b) {
        merge_simply(a, b, out);
    } else if a.len() / level.worthwhile_ratio() >= b.len() {
        let rest = runs::merge::<true>(level, a, b, out);
        let gap = rest.gap();
        merge_simply(&a[rest.long], &b[rest.short], &mut out[gap]);
    } else if b.len() / level.worthwhile_ratio() >= a.len() {
        let rest = runs::merge::<false>(level, b, a, out);
        let gap = rest.gap();
        merge_simply(&a[rest.short], &b[rest.long], &mut out[gap]);
    } else {
        merge_from_both_ends(a, b, out);
    }
}

/// Merges from the front and from the back at the same time: two chains of steps that do not wait
/// for each other.
fn merge_from_both_ends(mut a: &[i64], mut b: &[i64], mut out: &mut [i64]) {
    loop {
        // In so many steps from each end neither array can run out.
        let steps = a.len().min(b.len()) / 2;
        if steps < 8 || apart(a, b) {
            merge_simply(a, b, out);
            return;
        }
        let (mut i, mut j) = (0, 0);
        let (mut p, mut q) = (a.len() - 1, b.len() - 1);
        let (front, rest) = out.split_at_mut(steps);
        let rest_length = rest.len();
        let (middle, back) = rest.split_at_mut(rest_length - steps);
        for (first, last) in front.iter_mut().zip(back.iter_mut().rev()) {
            let (x, y) = (a[i], b[j]);
            let from_a = x <= y;
            *first = if from_a { x } else { y };
            i += usize::from(from_a);
            j += usize::from(!from_a);
            let (x, y) = (a[p], b[q]);
            let from_a = x > y;
            *last = if from_a { x } else { y };
            p -= usize::from(from_a);
            q -= usize::from(!from_a);
        }
        a = &a[i..=p];
        b = &b[j..=q];
        out = middle;
    }
}

/// Whether all of one array comes before all of the other.
fn apart(a: &[i64], b: &[i64]) -> bool {
    match (a.first().zip(a.last()), b.first().zip(b.last())) {
        (Some((a_first, a_last)), Some((b_first, b_last))) => a_last <= b_first || b_last < a_first,
        _ => true,
    }
}

/// Short or one-sided rests: as long a stretch as possible from either array at a time.
fn merge_simply(mut a: &[i64], mut b: &[i64], mut out: &mut [i64]) {
    while !a.is_empty() && !b.is_empty() {
        let (run, rest) = if a[0] <= b[0] {
            let (run, rest) = a.split_at(stride(a.len(), |at| a[at] <= b[0]));
            a = rest;
            (run, out)
        } else {
            let (run, rest) = b.split_at(stride(b.len(), |at| b[at] < a[0]));
            b = rest;
            (run, out)
        };
        let (filled, left) = rest.split_at_mut(run.len());
        filled.copy_from_slice(run);
        out = left;
    }
    let (from_a, from_b) = out.split_at_mut(a.len());
    from_a.copy_from_slice(a);
    from_b.copy_from_slice(b);
}

/// How many of 0..`length` satisfy `holds`, which is true up to a point and false from there on,
/// and true for 0. Looks at 1, 2, 4, … first: cheap when the point is near.
fn stride(length: usize, holds: impl Fn(usize) -> bool) -> usize {
    let mut step = 1;
    while step < length && holds(step) {
        step *= 2;
    }
    // holds(step / 2) is known to be true, holds(step) false or beyond the end.
    let (mut low, mut high) = (step / 2 + 1, step.min(length));
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The textbook's way: the greater of the two last values goes last. Long stretches from one array
/// are moved at once.
fn merge_from_the_back(nums1: &mut [i64], m: usize, nums2: &[i64]) {
    let (mut i, mut j) = (m, nums2.len());
    while i > 0 && j > 0 {
        match nums1[i - 1].cmp(&nums2[j - 1]) {
            Ordering::Greater => {
                let last = nums2[j - 1];
                let count = stride(i, |back| nums1[i - 1 - back] > last);
                nums1.copy_within(i - count..i, i - count + j);
                i -= count;
            }
            _ => {
                let last = nums1[i - 1];
                let count = stride(j, |back| nums2[j - 1 - back] >= last);
                nums1[i + j - count..i + j].copy_from_slice(&nums2[j - count..j]);
                j -= count;
            }
        }
    }
    // What is left of nums1 is in its place already.
    nums1[..j].copy_from_slice(&nums2[..j]);
}

/// The catalogue's entry.
pub struct MergeSortedArray;

const MOST: i64 = 50_000_000;

static ABOUT: About = About {
    name: "merge_sorted_array",
    title: "Merge sorted array",
    summary: "Merges a sorted array into another that has room for it, in place, with O(1) extra memory.",
    parameters: &[
        Parameter {
            name: "m",
            meaning: "values in the first array, which has room for n more",
            unit: "elements",
            domain: Domain::Integer { min: 0, max: MOST },
            default: "100000",
        },
        Parameter {
            name: "n",
            meaning: "values in the second array",
            unit: "elements",
            domain: Domain::Integer { min: 0, max: MOST },
            default: "100000",
        },
        Parameter {
            name: "shape",
            meaning: "how the arrays lie to each other: random, one wholly before the other, taking turns, or all equal",
            unit: "",
            domain: Domain::Choice(&["random", "disjoint", "alternating", "equal"]),
            default: "random",
        },
        Parameter {
            name: "inputs",
            meaning: "different inputs that tasks take in turn",
            unit: "inputs",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
    ],
    shared: "both arrays of every input, read only",
    per_thread: "a copy of the first array with its room, allocated for the task and merged in place; a forked task's pieces write disjoint parts of it",
    checked: "length and order-sensitive digest against the concatenation, sorted",
    input_example: r#"{"nums1":[1,2,3,0,0,0],"m":3,"nums2":[2,5,6],"n":3}"#,
    output_example: r#"{"nums1":[1,2,2,3,5,6]}"#,
    notes: "Time O(m + n), extra memory O(1). Equal values of nums1 come first, which can't be told from the result. \
            Source of the partition: Odeh, Green, Mwassi, Shmueli, Birk: Merge Path (2012).",
};

impl Workload for MergeSortedArray {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        let total = (params.integer("m") + params.integer("n")) as u64;
        let inputs = params.integer("inputs") as u64;
        inputs * (total * 8 + 128) + workers.max(1) as u64 * (total * 8 + 1024)
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let (m, n) = (params.size("m"), params.size("n"));
        let shape = params.text("shape");
        let inputs = (0..params.size("inputs"))
            .map(|number| generate(m, n, shape, Random::new(seed, number as u64)))
            .collect();
        Ok(Box::new(Merges { inputs }))
    }

    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
        let case = Case::open(input, &["nums1", "m", "nums2", "n"])?;
        let mut nums1 = case.integers("nums1")?;
        let m = case.count("m")?;
        let nums2 = case.integers("nums2")?;
        let n = case.count("n")?;
        if n != nums2.len() {
            return Err(BadInput::new(
                "n",
                format!("is {n}, but nums2 holds {} values; they must be equal", nums2.len()),
            ));
        }
        if m > nums1.len() {
            return Err(BadInput::new(
                "m",
                format!("is {m}, but nums1 holds only {} values", nums1.len()),
            ));
        }
        if m + n != nums1.len() {
            return Err(BadInput::new(
                "nums1",
                format!(
                    "holds {} values; it must hold m + n = {}: m values and room for n",
                    nums1.len(),
                    m + n
                ),
            ));
        }
        sorted("nums1", &nums1[..m])?;
        sorted("nums2", &nums2)?;
        merge(&mut nums1, m, &nums2, join);
        Ok(json!({ "nums1": nums1 }))
    }
}

fn sorted(field: &str, values: &[i64]) -> Result<(), BadInput> {
    match values.windows(2).position(|pair| pair[0] > pair[1]) {
        None => Ok(()),
        Some(at) => Err(BadInput::new(
            field,
            format!(
                "is not sorted: element {} is {}, less than element {at}, which is {}",
                at + 1,
                values[at + 1],
                values[at]
            ),
        )),
    }
}

/// Two sorted arrays.
struct Pair {
    nums1: Vec<i64>,
    nums2: Vec<i64>,
}

fn generate(m: usize, n: usize, shape: &str, mut random: Random) -> Pair {
    let mut pair = match shape {
        "disjoint" => Pair {
            nums1: (0..m).map(|_| (1 << 40) + random.below(1 << 40) as i64).collect(),
            nums2: (0..n).map(|_| random.below(1 << 40) as i64).collect(),
        },
        "alternating" => Pair {
            nums1: (0..m).map(|at| 2 * at as i64).collect(),
            nums2: (0..n).map(|at| 2 * at as i64 + 1).collect(),
        },
        "equal" => {
            let value = random.next() as i64;
            Pair {
                nums1: vec![value; m],
                nums2: vec![value; n],
            }
        }
        _ => Pair {
            nums1: (0..m).map(|_| random.next() as i64).collect(),
            nums2: (0..n).map(|_| random.next() as i64).collect(),
        },
    };
    pair.nums1.sort_unstable();
    pair.nums2.sort_unstable();
    pair
}

struct Merges {
    inputs: Vec<Pair>,
}

impl Merges {
    fn input(&self, task: u64) -> &Pair {
        &self.inputs[(task % self.inputs.len() as u64) as usize]
    }
}

fn digest(values: &[i64]) -> u64 {
    Digest::of(values.iter().map(|value| *value as u64))
}

impl Prepared for Merges {
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        let Pair { nums1, nums2 } = self.input(task);
        let mut merged = Vec::with_capacity(nums1.len() + nums2.len());
        merged.extend_from_slice(nums1);
        merged.resize(nums1.len() + nums2.len(), 0);
        merge(&mut merged, nums1.len(), nums2, join);
        let digest = digest(&merged);
        Answer {
            text: format!("{} values, digest {digest:016x}", merged.len()),
            words: vec![merged.len() as u64, digest],
        }
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let Pair { nums1, nums2 } = self.input(task);
        let expected = by_sorting(nums1, nums2);
        if answer.words == [expected.len() as u64, digest(&expected)] {
            return Ok(());
        }
        Err(Mismatch {
            task,
            message: format!(
                "{} but sorting gives {} values, digest {:016x}",
                answer.text,
                expected.len(),
                digest(&expected)
            ),
        })
    }
}

/// The oracle: one after the other, sorted.
fn by_sorting(a: &[i64], b: &[i64]) -> Vec<i64> {
    let mut all = [a, b].concat();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::tests::{OnThreads, solve};
    use proptest::prelude::*;

    fn merged(a: &[i64], b: &[i64], join: &dyn Join) -> Vec<i64> {
        let mut nums1 = a.to_vec();
        nums1.resize(a.len() + b.len(), 0);
        merge(&mut nums1, a.len(), b, join);
        nums1
    }

    #[test]
    fn small_cases() {
        for (a, b) in [
            (&[1, 2, 3][..], &[2, 5, 6][..]),
            (&[1], &[]),
            (&[], &[1]),
            (&[], &[]),
            (&[4, 5, 6], &[1, 2, 3]),
            (&[i64::MIN, 0, i64::MAX], &[i64::MIN, i64::MAX]),
        ] {
            assert_eq!(merged(a, b, &Sequential), by_sorting(a, b));
        }
    }

    #[test]
    fn every_shape_and_proportion_agrees_with_sorting() {
        for shape in ["random", "disjoint", "alternating", "equal"] {
            for (m, n) in [
                (0, 5000),
                (5000, 0),
                (1, 5000),
                (5000, 1),
                (300, 300),
                (90_000, 70_000),
                (100_000, 1600),
                (200_000, 300),
            ] {
                let Pair { nums1, nums2 } = generate(m, n, shape, Random::new(5, 0));
                let expected = by_sorting(&nums1, &nums2);
                assert!(merged(&nums1, &nums2, &Sequential) == expected, "{shape} {m} {n}");
                assert!(
                    merged(&nums1, &nums2, &OnThreads(2)) == expected,
                    "{shape} {m} {n} forked"
                );
                assert!(
                    merged(&nums2, &nums1, &OnThreads(2)) == expected,
                    "{shape} {n} {m} forked"
                );
            }
        }
    }

    #[test]
    fn the_split_takes_equal_values_of_the_first_array_first() {
        assert_eq!(split(&[1, 1, 1], &[1, 1, 1], 4), (3, 1));
        assert_eq!(split(&[1, 3, 5], &[2, 4, 6], 3), (2, 1));
        assert_eq!(split(&[], &[2, 4, 6], 2), (0, 2));
        assert_eq!(split(&[9], &[], 1), (1, 0));
    }

    #[test]
    fn a_stride_ends_where_the_condition_does() {
        for length in 1..40 {
            for end in 1..=length {
                assert_eq!(stride(length, |at| at < end), end);
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_and_unsorted_arrays_are_refused() {
        for (input, expected) in [
            (
                r#"{"nums1":[1,2,3,0,0],"m":3,"nums2":[2,5,6],"n":3}"#,
                "nums1: holds 5 values; it must hold m + n = 6: m values and room for n",
            ),
            (
                r#"{"nums1":[1,0],"m":1,"nums2":[2],"n":2}"#,
                "n: is 2, but nums2 holds 1 values; they must be equal",
            ),
            (
                r#"{"nums1":[1],"m":2,"nums2":[],"n":0}"#,
                "m: is 2, but nums1 holds only 1 values",
            ),
            (
                r#"{"nums1":[3,1,0],"m":2,"nums2":[2],"n":1}"#,
                "nums1: is not sorted: element 1 is 1, less than element 0, which is 3",
            ),
            (
                r#"{"nums1":[1,0,0],"m":1,"nums2":[2,1],"n":2}"#,
                "nums2: is not sorted: element 1 is 1, less than element 0, which is 2",
            ),
            (r#"{"nums1":[1],"m":-1,"nums2":[],"n":0}"#, "m: is -1; give 0 or more"),
        ] {
            assert_eq!(solve(&MergeSortedArray, input).unwrap_err(), expected);
        }
    }

    #[test]
    fn what_stands_in_the_room_does_not_matter() {
        assert_eq!(
            solve(&MergeSortedArray, r#"{"nums1":[5,-9],"m":1,"nums2":[4],"n":1}"#).unwrap(),
            r#"{"nums1":[4,5]}"#
        );
    }

    /// Sizes around the ratios at which the way of merging changes, and around a block.
    #[test]
    fn pieces_of_every_proportion_agree_with_sorting_at_every_level() {
        for level in Level::available() {
            for (m, n) in [
                (33, 16),
                (33, 17),
                (31, 15),
                (64, 32),
                (300, 37),
                (300, 38),
                (900, 90),
                (1000, 3),
                (70, 1),
                (70, 0),
            ] {
                for shape in ["random", "disjoint", "alternating", "equal"] {
                    let Pair { nums1, nums2 } = generate(m, n, shape, Random::new(6, 0));
                    let expected = by_sorting(&nums1, &nums2);
                    for (a, b) in [(&nums1, &nums2), (&nums2, &nums1)] {
                        let mut out = vec![0; m + n];
                        merge_piece(level, a, b, &mut out);
                        assert!(out == expected, "{level:?} {shape} {} {}", a.len(), b.len());
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_sorting(
            mut a in prop::collection::vec(-100_i64..100, 0..1500),
            mut b in prop::collection::vec(-100_i64..100, 0..1500),
        ) {
            a.sort_unstable();
            b.sort_unstable();
            prop_assert_eq!(merged(&a, &b, &Sequential), by_sorting(&a, &b));
        }

        #[test]
        fn any_piece_merges_from_both_ends(
            mut a in prop::collection::vec(any::<i64>(), 0..100),
            mut b in prop::collection::vec(any::<i64>(), 0..100),
        ) {
            a.sort_unstable();
            b.sort_unstable();
            let mut out = vec![0; a.len() + b.len()];
            merge_from_both_ends(&a, &b, &mut out);
            prop_assert_eq!(out, by_sorting(&a, &b));
        }
    }
}
