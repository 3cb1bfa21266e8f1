//! Merge, maximum gap, lowest common ancestor and combination sum, and their peers that are Rust.

use rayon::prelude::*;
use threadscape_workloads::{Join, Preorder, Tree, answer_all, count_combinations, maximum_gap, merge, search_count};

use crate::{Asked, Case};

pub fn open(name: &str, asked: &Asked) -> Box<dyn Case + Send> {
    match name {
        "merge" | "merge_rayon_sort" => {
            let (m, n) = (asked.values("a"), asked.values::<i64>("b"));
            Box::new(Merge {
                sorted: name == "merge_rayon_sort",
                out: vec![0; m.len() + n.len()],
                a: m,
                b: n,
            })
        }
        "gap" | "gap_rayon_sort" => Box::new(Gap {
            sorted: name == "gap_rayon_sort",
            nums: asked.values("nums"),
            copy: Vec::new(),
            gap: 0,
        }),
        "ancestor" => Box::new(Ancestor::open(asked)),
        "combinations" => Box::new(Combinations {
            candidates: asked
                .text("candidates")
                .split(',')
                .map(|each| each.parse().unwrap())
                .collect(),
            target: asked.size("target") as i64,
            search: asked.text("by") == "search",
            count: 0,
        }),
        _ => panic!("no case is named lists.{name}"),
    }
}

struct Merge {
    sorted: bool,
    a: Vec<i64>,
    b: Vec<i64>,
    out: Vec<i64>,
}

impl Case for Merge {
    fn prepare(&mut self) {
        let m = self.a.len();
        self.out[..m].copy_from_slice(&self.a);
        self.out[m..].copy_from_slice(&self.b);
    }

    fn run(&mut self, join: &dyn Join) {
        if self.sorted {
            self.out.par_sort();
        } else {
            merge(&mut self.out, self.a.len(), &self.b, join);
        }
    }

    fn result(&self) -> Vec<f64> {
        self.out.iter().map(|value| *value as f64).collect()
    }
}

struct Gap {
    sorted: bool,
    nums: Vec<i64>,
    /// What the sort works on.
    copy: Vec<i64>,
    gap: u64,
}

impl Case for Gap {
    fn prepare(&mut self) {
        if self.sorted {
            self.copy.clone_from(&self.nums);
        }
    }

    fn run(&mut self, join: &dyn Join) {
        self.gap = if self.sorted {
            self.copy.par_sort_unstable();
            self.copy
                .windows(2)
                .map(|pair| (pair[1] as u64).wrapping_sub(pair[0] as u64))
                .max()
                .unwrap_or(0)
        } else {
            maximum_gap(&self.nums, join)
        };
    }

    fn result(&self) -> Vec<f64> {
        vec![self.gap as f64]
    }
}

/// The index is made outside the clock, as the peers' is.
struct Ancestor {
    index: Preorder,
    queries: Vec<(u32, u32)>,
    answers: Vec<u32>,
}

impl Ancestor {
    fn open(asked: &Asked) -> Ancestor {
        let order: Vec<Option<i64>> = asked
            .values::<i64>("order")
            .into_iter()
            .map(|value| (value != i64::MIN).then_some(value))
            .collect();
        let tree = Tree::from_level_order(&order).unwrap();
        let queries: Vec<(u32, u32)> = asked
            .values::<u32>("queries")
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect();
        Ancestor {
            index: Preorder::new(&tree),
            answers: vec![0; queries.len()],
            queries,
        }
    }
}

impl Case for Ancestor {
    fn run(&mut self, join: &dyn Join) {
        let grain = self.queries.len() / (4 * join.width());
        answer_all(&self.index, &self.queries, &mut self.answers, join, grain);
    }

    fn result(&self) -> Vec<f64> {
        self.answers.iter().map(|node| f64::from(*node)).collect()
    }
}

struct Combinations {
    candidates: Vec<i64>,
    target: i64,
    /// By the search that also lists them, or by the table that only counts.
    search: bool,
    count: u64,
}

impl Case for Combinations {
    fn run(&mut self, join: &dyn Join) {
        let by = if self.search { search_count } else { count_combinations };
        self.count = by(&self.candidates, self.target, true, join).unwrap();
    }

    fn result(&self) -> Vec<f64> {
        vec![self.count as f64]
    }
}
