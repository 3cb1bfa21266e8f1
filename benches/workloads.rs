//! The workloads against what one would use instead, in one run on one machine: median times and
//! how many times faster we are. Nothing is asserted; a shared machine is noisy.
//!
//! Peers get every advantage that is easy to give: sorts work in place on a copy made outside the
//! clock. Two threads are rayon's, for them and for us, so only the algorithms differ.

mod table;

use std::hint::black_box;
use std::time::{Duration, Instant};

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use table::{ms, row};
use threadscape::workloads::{
    self, AncestorIndex, Inlabel, Join, Params, Preorder, Sequential, Tree, answer_all, by_traversal,
    count_combinations, maximum_gap, merge,
};

/// Rayon as the pool: lets the workloads be measured apart from our own pools.
struct OnRayon;

impl Join for OnRayon {
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        rayon::join(a, b);
    }

    fn width(&self) -> usize {
        rayon::current_num_threads()
    }
}

/// The median of `rounds`; what `prepare` makes is not timed.
fn timed<T, R>(rounds: usize, mut prepare: impl FnMut() -> T, mut run: impl FnMut(&mut T) -> R) -> Duration {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let mut input = prepare();
            let start = Instant::now();
            black_box(run(&mut input));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[rounds / 2]
}

struct Group {
    title: String,
    ours: Vec<(String, Duration)>,
}

impl Group {
    fn titled(title: &str) -> Group {
        Group {
            title: title.to_owned(),
            ours: Vec::new(),
        }
    }

    fn ours(&mut self, name: &str, time: Duration) {
        row("workloads", &format!("{}: {name}", self.title), &ms(time), "", None);
        self.ours.push((name.to_owned(), time));
    }

    fn peer(&self, name: &str, time: Duration) {
        let ratios: Vec<f64> = self
            .ours
            .iter()
            .map(|(_, ours)| time.as_secs_f64() / ours.as_secs_f64())
            .collect();
        let told: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}x")).collect();
        let met = ratios.iter().all(|ratio| *ratio > 1.0);
        row(
            "workloads",
            &format!("  {name}"),
            &ms(time),
            &format!("ours faster by {}", told.join(", ")),
            Some(met),
        );
    }
}

fn random(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

fn scan(sorted: &[i64]) -> u64 {
    sorted
        .windows(2)
        .map(|pair| (pair[1] as u64).wrapping_sub(pair[0] as u64))
        .max()
        .unwrap_or(0)
}

fn gaps() {
    for (elements, rounds) in [(100_000, 31), (1_000_000, 11), (20_000_000, 5)] {
        for shape in ["uniform below 2^31", "all of 64 bits", "evenly spread, shuffled"] {
            let mut source = random(elements as u64);
            let mut nums: Vec<i64> = (0..elements)
                .map(|at| match shape {
                    "uniform below 2^31" => (source.next_u64() >> 33) as i64,
                    "all of 64 bits" => source.next_u64() as i64,
                    _ => at as i64 * 1000 + (source.next_u64() % 100) as i64,
                })
                .collect();
            if shape.starts_with("evenly") {
                for last in (1..nums.len()).rev() {
                    nums.swap(last, (source.next_u64() % (last as u64 + 1)) as usize);
                }
            }
            let mut group = Group::titled(&format!("maximum gap, {elements} values, {shape}"));
            group.ours("1 thread", timed(rounds, || (), |()| maximum_gap(&nums, &Sequential)));
            group.ours("2 threads", timed(rounds, || (), |()| maximum_gap(&nums, &OnRayon)));
            let sorted = |values: &mut Vec<i64>| {
                values.sort_unstable();
                scan(values)
            };
            group.peer("sort_unstable and scan", timed(rounds, || nums.clone(), sorted));
            let sorted = |values: &mut Vec<i64>| {
                values.par_sort_unstable();
                scan(values)
            };
            group.peer(
                "par_sort_unstable and scan, 2 threads",
                timed(rounds, || nums.clone(), sorted),
            );
            group.peer(
                "textbook buckets, least and greatest",
                timed(rounds, || (), |()| textbook_gap(&nums)),
            );
        }
    }
}

fn textbook_gap(nums: &[i64]) -> u64 {
    let low = *nums.iter().min().unwrap();
    let high = *nums.iter().max().unwrap();
    let range = (high as u64).wrapping_sub(low as u64);
    let width = range.div_ceil(nums.len() as u64 - 1).max(1);
    let mut buckets = vec![(u64::MAX, 0_u64); (range / width) as usize + 1];
    for x in nums {
        let offset = (*x as u64).wrapping_sub(low as u64);
        let bucket = &mut buckets[(offset / width) as usize];
        bucket.0 = bucket.0.min(offset);
        bucket.1 = bucket.1.max(offset);
    }
    let (mut gap, mut last) = (0, 0);
    for (least, greatest) in buckets {
        if least <= greatest {
            gap = gap.max(least - last);
            last = greatest;
        }
    }
    gap
}

fn merges() {
    for (m, n, rounds) in [
        (100_000, 100_000, 31),
        (10_000_000, 10_000_000, 5),
        (10_000_000, 1_000_000, 5),
    ] {
        let mut source = random(m as u64);
        let mut first: Vec<i64> = (0..m).map(|_| source.next_u64() as i64).collect();
        let mut second: Vec<i64> = (0..n).map(|_| source.next_u64() as i64).collect();
        first.sort_unstable();
        second.sort_unstable();
        let room = || {
            let mut nums1 = first.clone();
            nums1.resize(m + n, 0);
            nums1
        };
        let both = || [&first[..], &second[..]].concat();
        let mut group = Group::titled(&format!("merge {m} + {n} values"));
        group.ours(
            "in place, 1 thread",
            timed(rounds, room, |nums1| merge(nums1, m, &second, &Sequential)),
        );
        group.ours(
            "in place, 2 threads",
            timed(rounds, room, |nums1| merge(nums1, m, &second, &OnRayon)),
        );
        group.peer(
            "standard merge through a copy",
            timed(rounds, room, |nums1| {
                let copy = nums1[..m].to_vec();
                forward(&copy, &second, nums1);
            }),
        );
        group.peer(
            "textbook, in place from the back",
            timed(rounds, room, |nums1| backward(nums1, m, &second)),
        );
        group.peer(
            "sort of the two runs (it merges them)",
            timed(rounds, both, |all| stable(all)),
        );
        group.peer(
            "sort_unstable of the two runs",
            timed(rounds, both, |all| all.sort_unstable()),
        );
        group.peer(
            "par_sort of the two runs, 2 threads",
            timed(rounds, both, |all| all.par_sort()),
        );
    }
}

/// The stable sort looks for runs and merges them; the unstable one doesn't.
#[allow(clippy::stable_sort_primitive)]
fn stable(all: &mut [i64]) {
    all.sort();
}

fn forward(a: &[i64], b: &[i64], out: &mut [i64]) {
    let (mut i, mut j) = (0, 0);
    for slot in out {
        let from_a = i < a.len() && (j >= b.len() || a[i] <= b[j]);
        *slot = if from_a { a[i] } else { b[j] };
        i += usize::from(from_a);
        j += usize::from(!from_a);
    }
}

fn backward(nums1: &mut [i64], m: usize, nums2: &[i64]) {
    let (mut i, mut j) = (m, nums2.len());
    while j > 0 {
        if i > 0 && nums1[i - 1] > nums2[j - 1] {
            nums1[i + j - 1] = nums1[i - 1];
            i -= 1;
        } else {
            nums1[i + j - 1] = nums2[j - 1];
            j -= 1;
        }
    }
}

fn ancestors() {
    let nodes = 1_000_000;
    let mut source = random(1);
    let mut order: Vec<Option<i64>> = vec![Some(0); 64];
    let mut count = 64;
    while count < nodes {
        // Nine in twenty children are missing: a tree some hundred levels deep.
        let missing = source.next_u64() % 20 < 9;
        order.push((!missing).then_some(count as i64));
        count += usize::from(!missing);
    }
    let tree = Tree::from_level_order(&order).unwrap();
    let queries: Vec<(u32, u32)> = (0..1_000_000)
        .map(|_| {
            let both = source.next_u64();
            ((both as u32) % nodes as u32, ((both >> 32) as u32) % nodes as u32)
        })
        .collect();
    let mut group = Group::titled("lowest common ancestor, 1000000 nodes: preparation");
    group.ours("preorder", timed(7, || (), |()| Preorder::new(&tree)));
    group.ours("inlabel", timed(7, || (), |()| Inlabel::new(&tree)));
    let lifting = Lifting::new(&tree);
    let sparse = Sparse::new(&tree);
    group.peer(
        "sparse table over the depth-first order",
        timed(7, || (), |()| Sparse::new(&tree)),
    );
    group.peer("binary lifting", timed(5, || (), |()| Lifting::new(&tree)));

    let (preorder, inlabel) = (Preorder::new(&tree), Inlabel::new(&tree));
    let mut group = Group::titled("  and 1000000 queries");
    let room = || vec![0_u32; queries.len()];
    let all = |index: &dyn AncestorIndex, join: &dyn Join| {
        timed(7, room, |answers| {
            answer_all(index, &queries, answers, join, queries.len() / (4 * join.width()));
            answers[0]
        })
    };
    group.ours("preorder, 1 thread", all(&preorder, &Sequential));
    group.ours("preorder, 2 threads", all(&preorder, &OnRayon));
    group.ours("inlabel, 1 thread", all(&inlabel, &Sequential));
    group.peer("sparse table", all(&sparse, &Sequential));
    group.peer("binary lifting", all(&lifting, &Sequential));
    let few = &queries[..20];
    let walk = timed(
        3,
        || (),
        |()| {
            few.iter()
                .map(|&(p, q)| u64::from(by_traversal(&tree, p, q)))
                .sum::<u64>()
        },
    );
    group.peer(
        "a walk for each (20 measured, scaled)",
        walk * (queries.len() / few.len()) as u32,
    );
}

/// The textbook's: minima of all power-of-two ranges of the depth-first order.
struct Sparse {
    place: Vec<u32>,
    table: Vec<Vec<(u32, u32)>>,
    parents: Vec<u32>,
}

impl Sparse {
    fn new(tree: &Tree) -> Sparse {
        let (mut place, mut row, mut parents) = (vec![0; tree.len()], Vec::new(), vec![u32::MAX; tree.len()]);
        let mut stack = vec![(0_u32, 0_u32)];
        while let Some((node, depth)) = stack.pop() {
            place[node as usize] = row.len() as u32;
            row.push((depth, node));
            for child in tree.children_of(node).into_iter().rev().flatten() {
                parents[child as usize] = node;
                stack.push((child, depth + 1));
            }
        }
        let mut table = vec![row];
        let mut reach = 1;
        while table.last().unwrap().len() > reach {
            let last = table.last().unwrap();
            let next = last.iter().zip(&last[reach..]).map(|(a, b)| *a.min(b)).collect();
            table.push(next);
            reach *= 2;
        }
        Sparse { place, table, parents }
    }
}

impl AncestorIndex for Sparse {
    fn lowest_common_ancestor(&self, p: u32, q: u32) -> u32 {
        if p == q {
            return p;
        }
        let (a, b) = (self.place[p as usize], self.place[q as usize]);
        let (first, last) = (a.min(b) as usize + 1, a.max(b) as usize);
        let level = (last - first + 1).ilog2() as usize;
        let row = &self.table[level];
        let (_, node) = row[first].min(row[last + 1 - (1 << level)]);
        self.parents[node as usize]
    }
}

/// Ancestors at distances of powers of two.
struct Lifting {
    depth: Vec<u32>,
    up: Vec<Vec<u32>>,
}

impl Lifting {
    fn new(tree: &Tree) -> Lifting {
        let (mut depth, mut first) = (vec![0; tree.len()], vec![0; tree.len()]);
        // Level order: a parent comes before its children.
        for node in 0..tree.len() as u32 {
            for child in tree.children_of(node).into_iter().flatten() {
                depth[child as usize] = depth[node as usize] + 1;
                first[child as usize] = node;
            }
        }
        let deepest = depth.iter().max().copied().unwrap_or(0);
        let mut up = vec![first];
        while (1 << up.len()) <= deepest {
            let last = up.last().unwrap();
            let next = last.iter().map(|node| last[*node as usize]).collect();
            up.push(next);
        }
        Lifting { depth, up }
    }
}

impl AncestorIndex for Lifting {
    fn lowest_common_ancestor(&self, p: u32, q: u32) -> u32 {
        let (mut a, mut b) = (p as usize, q as usize);
        if self.depth[a] < self.depth[b] {
            (a, b) = (b, a);
        }
        let apart = self.depth[a] - self.depth[b];
        for (level, row) in self.up.iter().enumerate() {
            if apart >> level & 1 == 1 {
                a = row[a] as usize;
            }
        }
        if a == b {
            return a as u32;
        }
        for row in self.up.iter().rev() {
            if row[a] != row[b] {
                (a, b) = (row[a] as usize, row[b] as usize);
            }
        }
        self.up[0][a]
    }
}

fn sums() {
    let candidates: Vec<i64> = (1..=60).collect();
    let mut group = Group::titled("combination sum, candidates 1 to 60, target 80: every combination visited");
    for (name, join) in [("1 thread", &Sequential as &dyn Join), ("2 threads", &OnRayon)] {
        let time = timed(5, || (), |()| workloads::search_count(&candidates, 80, true, join));
        group.ours(name, time);
    }
    group.peer(
        "plain backtracking",
        timed(3, || (), |()| backtrack(&candidates, 0, 80)),
    );
    group.ours(
        "count only, over sums",
        timed(5, || (), |()| count_combinations(&candidates, 80, true, &Sequential)),
    );
}

fn backtrack(candidates: &[i64], start: usize, rest: i64) -> u64 {
    if rest == 0 {
        return 1;
    }
    let mut count = 0;
    for at in start..candidates.len() {
        if candidates[at] > rest {
            break;
        }
        count += backtrack(candidates, at, rest - candidates[at]);
    }
    count
}

/// What a task of default size costs on one thread: what demo scenarios are planned with.
fn tasks() {
    for workload in workloads::CATALOGUE {
        let params = Params::resolve(workload.about(), &[]).unwrap();
        let prepared = workload.prepare(&params, 1).unwrap();
        let mut task = 0;
        let time = timed(
            21,
            || (),
            |()| {
                task += 1;
                prepared.run(task, &Sequential)
            },
        );
        let what = format!("a task of default size, 1 thread: {}", workload.about().name);
        row("workloads", &what, &ms(time), "", None);
    }
}

fn main() {
    // Cargo passes --bench and filters; a first word that is no flag picks a group.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let groups: [(&str, fn()); 5] = [
        ("gap", gaps),
        ("merge", merges),
        ("ancestor", ancestors),
        ("sum", sums),
        ("task", tasks),
    ];
    for (name, group) in groups {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            pool.install(group);
        }
    }
}
