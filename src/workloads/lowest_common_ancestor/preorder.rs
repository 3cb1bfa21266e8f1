//! First method: the lowest common ancestor as a minimum over a range of the preorder.
//!
//! Number the nodes in preorder and write at each place the number of that node's *parent*. For
//! two nodes at places l < r, every node in l+1..=r lies below their lowest common ancestor and
//! one of them is its child, so the least parent in that range is the answer. The range minimum
//! takes constant time: least values from a block's start, to a block's end, and a sparse table
//! over whole blocks. Two places in one block are compared directly, at most 64 of them.
//!
//! The preorder comes from subtree sizes, without a traversal: a child's place is its parent's
//! plus one, plus the size of what is to its left.
//!
//! Source: Bender and Farach-Colton, The LCA problem revisited (2000), for the reduction.

use super::AncestorIndex;
use super::tree::{NONE, Tree};

/// With 64 places to a block the table of a tree of a million nodes stays in a second-level cache.
const BLOCK: usize = 64;

/// Preorder places and their range minima.
pub struct Preorder {
    /// The place of each node.
    places: Vec<u32>,
    /// The node at each place.
    nodes: Vec<u32>,
    /// The place of the parent of the node at each place.
    above: Vec<u32>,
    /// Least of `above` from the start of the block up to here.
    from_start: Vec<u32>,
    /// Least of `above` from here to the end of the block.
    to_end: Vec<u32>,
    /// Level k holds the minima over 2^k whole blocks from each block on.
    table: Vec<Vec<u32>>,
}

impl Preorder {
    /// O(n + (n / 64) log n) time and memory.
    pub fn new(tree: &Tree) -> Preorder {
        let length = tree.len();
        let sizes = tree.sizes();
        let mut places = vec![0_u32; length];
        let mut nodes = vec![0_u32; length];
        let mut above = vec![0_u32; length];
        for node in 0..length {
            let place = places[node];
            nodes[place as usize] = node as u32;
            let mut next = place + 1;
            for child in tree.children[node] {
                if child != NONE {
                    places[child as usize] = next;
                    above[next as usize] = place;
                    next += sizes[child as usize];
                }
            }
        }
        drop(sizes);
        let mut from_start = above.clone();
        let mut to_end = above.clone();
        for block in from_start.chunks_mut(BLOCK) {
            for at in 1..block.len() {
                block[at] = block[at].min(block[at - 1]);
            }
        }
        for block in to_end.chunks_mut(BLOCK) {
            for at in (1..block.len()).rev() {
                block[at - 1] = block[at - 1].min(block[at]);
            }
        }
        let mut table = vec![to_end.iter().copied().step_by(BLOCK).collect::<Vec<u32>>()];
        let mut reach = 1;
        while let Some(last) = table.last().filter(|last| last.len() > reach) {
            let next = last.iter().zip(&last[reach..]).map(|(a, b)| *a.min(b)).collect();
            table.push(next);
            reach *= 2;
        }
        Preorder {
            places,
            nodes,
            above,
            from_start,
            to_end,
            table,
        }
    }

    pub fn bytes(&self) -> u64 {
        let flat = self.places.len() * 5;
        let table: usize = self.table.iter().map(Vec::len).sum();
        (flat + table) as u64 * 4
    }
}

impl Preorder {
    /// The place of the lowest common ancestor of the nodes at places `a` and `b`.
    #[inline]
    fn place_above(&self, a: u32, b: u32) -> u32 {
        if a == b {
            return a;
        }
        let (first, last) = (a.min(b) as usize + 1, a.max(b) as usize);
        let (left, right) = (first / BLOCK, last / BLOCK);
        if left == right {
            return self.above[first..=last].iter().copied().min().unwrap_or(0);
        }
        let least = self.to_end[first].min(self.from_start[last]);
        let between = right - left - 1;
        if between == 0 {
            return least;
        }
        let level = between.ilog2() as usize;
        let row = &self.table[level];
        least.min(row[left + 1]).min(row[right - (1 << level)])
    }
}

impl AncestorIndex for Preorder {
    #[inline]
    fn lowest_common_ancestor(&self, p: u32, q: u32) -> u32 {
        let least = self.place_above(self.places[p as usize], self.places[q as usize]);
        self.nodes[least as usize]
    }

    /// In three passes over some queries at a time: within a pass no load waits for another, so the
    /// processor has many under way.
    fn answer(&self, queries: &[(u32, u32)], answers: &mut [u32]) {
        const TOGETHER: usize = 64;
        let mut places = [(0, 0); TOGETHER];
        for (queries, answers) in queries.chunks(TOGETHER).zip(answers.chunks_mut(TOGETHER)) {
            for (place, &(p, q)) in places.iter_mut().zip(queries) {
                *place = (self.places[p as usize], self.places[q as usize]);
            }
            for (answer, &(a, b)) in answers.iter_mut().zip(&places) {
                *answer = self.place_above(a, b);
            }
            for answer in answers {
                *answer = self.nodes[*answer as usize];
            }
        }
    }
}
