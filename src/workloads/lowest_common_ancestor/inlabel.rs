//! Second method, after Schieber and Vishkin: paths of the tree mapped onto a complete binary tree.
//!
//! Each node gets a label from its subtree's interval of preorder numbers: the number in it that
//! is divisible by the greatest power of two. Nodes with one label form a path downwards, and
//! labels along any way to the root rise in a complete binary tree, where the lowest common
//! ancestor is a matter of bit operations. Linear preparation, constant time a query.
//!
//! It shares nothing with the first method but the tree: the preorder here comes from walking it
//! with a stack of its own, so the two can be held against each other.
//!
//! Source: Schieber and Vishkin, On finding lowest common ancestors: simplification and
//! parallelization (1988).

use super::AncestorIndex;
use super::tree::{NONE, Tree};

/// Labels, and what of the way to the root they tell.
pub struct Inlabel {
    labels: Vec<u32>,
    /// A bit for the height of every label on the way from the root to the node.
    heights: Vec<u32>,
    depths: Vec<u32>,
    parents: Vec<u32>,
    /// The uppermost node of each label's path.
    heads: Vec<u32>,
}

impl Inlabel {
    /// O(n) time and memory.
    pub fn new(tree: &Tree) -> Inlabel {
        let length = tree.len();
        let mut numbers = vec![0_u32; length];
        let mut ends = vec![0_u32; length];
        // Walk in preorder; a node comes up again, marked, when all below it has been numbered.
        let mut stack: Vec<(u32, bool)> = Vec::new();
        if length > 0 {
            stack.push((0, false));
        }
        let mut count = 0;
        while let Some((node, done)) = stack.pop() {
            if done {
                ends[node as usize] = count;
                continue;
            }
            count += 1;
            numbers[node as usize] = count;
            stack.push((node, true));
            let [left, right] = tree.children[node as usize];
            for child in [right, left] {
                if child != NONE {
                    stack.push((child, false));
                }
            }
        }
        let labels: Vec<u32> = numbers
            .iter()
            .zip(&ends)
            .map(|(&first, &last)| label(first, last))
            .collect();
        drop((numbers, ends, stack));
        let mut heights = vec![0_u32; length];
        let mut depths = vec![0_u32; length];
        let mut heads = vec![NONE; length + 1];
        for node in 0..length {
            let parent = tree.parents[node];
            let (above, depth) = match parent {
                NONE => (0, 0),
                parent => (heights[parent as usize], depths[parent as usize] + 1),
            };
            let own = labels[node];
            heights[node] = above | (own & own.wrapping_neg());
            depths[node] = depth;
            // Level order: the first node met of a path is its uppermost.
            let head = &mut heads[own as usize];
            if *head == NONE {
                *head = node as u32;
            }
        }
        Inlabel {
            labels,
            heights,
            depths,
            parents: tree.parents.clone(),
            heads,
        }
    }

    /// The lowest node on the way from `node` to the root whose label is `label`, which is at the
    /// given height.
    fn enter(&self, node: u32, label: u32, height: u32) -> u32 {
        if self.labels[node as usize] == label {
            return node;
        }
        // The label just below `label` on the way down to `node`.
        let below = self.heights[node as usize] & ((1 << height) - 1);
        let top = below.ilog2();
        let own = self.labels[node as usize];
        let path = (own >> top | 1) << top;
        self.parents[self.heads[path as usize] as usize]
    }
}

/// The number from `first` to `last` that has the most trailing zeros.
fn label(first: u32, last: u32) -> u32 {
    match (first - 1) ^ last {
        0 => last,
        differ => {
            let top = differ.ilog2();
            (last >> top) << top
        }
    }
}

impl AncestorIndex for Inlabel {
    fn lowest_common_ancestor(&self, p: u32, q: u32) -> u32 {
        let (a, b) = (self.labels[p as usize], self.labels[q as usize]);
        let (x, y) = if a == b {
            (p, q)
        } else {
            // Common heights at or above the place where the labels part.
            let part = (a ^ b).ilog2();
            let common = self.heights[p as usize] & self.heights[q as usize] & (u32::MAX << part);
            let height = common.trailing_zeros();
            let meeting = (a >> height | 1) << height;
            (self.enter(p, meeting, height), self.enter(q, meeting, height))
        };
        if self.depths[x as usize] <= self.depths[y as usize] {
            x
        } else {
            y
        }
    }
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn a_label_has_the_most_trailing_zeros() {
        for first in 1..60_u32 {
            for last in first..60 {
                let expected = (first..=last).max_by_key(|number| number.trailing_zeros()).unwrap();
                assert_eq!(label(first, last), expected, "{first}..={last}");
            }
        }
    }
}
