//! A binary tree as flat arrays, its nodes numbered in level order.
//!
//! Level order makes every later step a loop instead of a recursion: a child's number is greater
//! than its parent's, so sizes are summed by going backwards and places handed out by going
//! forwards, however deep the tree is. Parents come in non-decreasing order, so those loops also
//! read memory in order.

use super::super::BadInput;
use super::super::random::Random;

/// In place of a child or a parent that isn't there.
pub(super) const NONE: u32 = u32::MAX;

/// A binary tree. Node 0 is the root; an empty tree has no nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    pub(super) values: Vec<i64>,
    /// Left and right child of each node.
    pub(super) children: Vec<[u32; 2]>,
    pub(super) parents: Vec<u32>,
}

/// How a generated tree looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Random,
    Balanced,
    Chain,
    Caterpillar,
}

impl Tree {
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Left and right child of a node; nodes are numbered in level order.
    pub fn children_of(&self, node: u32) -> [Option<u32>; 2] {
        self.children[node as usize].map(|child| (child != NONE).then_some(child))
    }

    fn with_capacity(nodes: usize) -> Tree {
        Tree {
            values: Vec::with_capacity(nodes),
            children: Vec::with_capacity(nodes),
            parents: Vec::with_capacity(nodes),
        }
    }

    /// Adds a node below `parent`, on side 0 (left) or 1 (right). Parents must come in order.
    fn add(&mut self, value: i64, parent: u32, side: usize) {
        let node = self.len() as u32;
        if let Some(children) = self.children.get_mut(parent as usize) {
            children[side] = node;
        }
        self.values.push(value);
        self.children.push([NONE; 2]);
        self.parents.push(parent);
    }

    /// From the usual text form: level by level, `null` where a child is missing, nothing at all
    /// below a missing one.
    pub fn from_level_order(order: &[Option<i64>]) -> Result<Tree, BadInput> {
        let mut tree = Tree::with_capacity(order.len());
        let Some((root, rest)) = order.split_first() else {
            return Ok(tree);
        };
        match root {
            Some(value) => tree.add(*value, NONE, 0),
            None if rest.iter().all(Option::is_none) => return Ok(tree),
            None => {
                return Err(BadInput::new(
                    "tree",
                    "element 0, the root, is null, but more nodes follow; an empty tree is []",
                ));
            }
        }
        for (at, pair) in rest.chunks(2).enumerate() {
            // The pair at place `at` belongs to the node of that number, if there is one by now.
            if at >= tree.len() {
                match pair.iter().position(Option::is_some) {
                    None => continue,
                    Some(side) => {
                        return Err(BadInput::new(
                            "tree",
                            format!(
                                "element {} has no parent: the level above holds no more nodes; leave out what is below a null",
                                1 + 2 * at + side
                            ),
                        ));
                    }
                }
            }
            for (side, value) in pair.iter().enumerate() {
                if let Some(value) = value {
                    tree.add(*value, at as u32, side);
                }
            }
        }
        Ok(tree)
    }

    /// A tree of so many nodes, its values all different and in no order.
    pub(super) fn generate(nodes: usize, shape: Shape, random: &mut Random) -> Tree {
        let mut tree = Tree::with_capacity(nodes);
        let mut parent = 0;
        // Caterpillar: the node of the spine that the next pair hangs from.
        let mut spine = 0;
        if nodes > 0 {
            tree.add(0, NONE, 0);
        }
        while tree.len() < nodes {
            // The last node of the queue must have a child, or the tree would end here.
            let last = parent + 1 == tree.len();
            let first_side = usize::from(random.coin());
            let count = match shape {
                Shape::Balanced => 2,
                Shape::Chain => 1,
                Shape::Caterpillar => 2 * usize::from(parent == spine),
                Shape::Random => {
                    let count = [0, 1, 1, 2][random.below(4) as usize];
                    if last { count.max(1) } else { count }
                }
            };
            let count = count.min(nodes - tree.len());
            if shape == Shape::Caterpillar && count > 0 {
                spine = tree.len() + usize::from(count == 2 && random.coin());
            }
            for number in 0..count {
                let side = if count == 2 { number } else { first_side };
                tree.add(0, parent as u32, side);
            }
            parent += 1;
        }
        for (node, value) in tree.values.iter_mut().enumerate() {
            *value = 3 * node as i64 - 1_000_000;
        }
        random.shuffle(&mut tree.values);
        tree
    }

    /// How many nodes the subtree of each node has.
    pub(super) fn sizes(&self) -> Vec<u32> {
        let mut sizes = vec![1_u32; self.len()];
        for node in (1..self.len()).rev() {
            sizes[self.parents[node] as usize] += sizes[node];
        }
        sizes
    }

    /// How far each node is below the root.
    pub(super) fn depths(&self) -> Vec<u32> {
        let mut depths = vec![0_u32; self.len()];
        for node in 1..self.len() {
            depths[node] = depths[self.parents[node] as usize] + 1;
        }
        depths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(order: &[Option<i64>]) -> Result<Tree, String> {
        Tree::from_level_order(order).map_err(|bad| bad.to_string())
    }

    #[test]
    fn children_follow_only_those_that_are_there() {
        // 1 has a right child 2 only; 2 has a left child 3.
        let tree = parse(&[Some(1), None, Some(2), Some(3)]).unwrap();
        assert_eq!(tree.values, [1, 2, 3]);
        assert_eq!(tree.children, [[NONE, 1], [2, NONE], [NONE, NONE]]);
        assert_eq!(tree.parents, [NONE, 0, 1]);
        assert_eq!(tree.sizes(), [3, 2, 1]);
        assert_eq!(tree.depths(), [0, 1, 2]);
    }

    #[test]
    fn an_empty_tree_has_several_spellings() {
        assert!(parse(&[]).unwrap().is_empty());
        assert!(parse(&[None]).unwrap().is_empty());
        assert!(parse(&[None, None, None]).unwrap().is_empty());
    }

    #[test]
    fn trailing_nulls_are_harmless() {
        assert_eq!(parse(&[Some(1), None, None, None, None]).unwrap().len(), 1);
    }

    #[test]
    fn a_node_without_a_parent_is_refused() {
        assert!(
            parse(&[None, Some(1)])
                .unwrap_err()
                .starts_with("tree: element 0, the root, is null")
        );
        assert!(
            parse(&[Some(1), None, None, None, Some(5)])
                .unwrap_err()
                .starts_with("tree: element 4 has no parent")
        );
    }

    #[test]
    fn generated_trees_have_their_shape_and_distinct_values() {
        for (shape, deepest) in [
            (Shape::Random, 10..=999),
            (Shape::Balanced, 9..=9),
            (Shape::Chain, 999..=999),
            (Shape::Caterpillar, 500..=500),
        ] {
            let tree = Tree::generate(1000, shape, &mut Random::new(1, 0));
            assert_eq!(tree.len(), 1000);
            let deepest_found = *tree.depths().iter().max().unwrap();
            assert!(deepest.contains(&deepest_found), "{shape:?} {deepest_found}");
            let mut values = tree.values.clone();
            values.sort_unstable();
            values.dedup();
            assert_eq!(values.len(), 1000);
            assert!(tree.parents.windows(2).skip(1).all(|pair| pair[0] <= pair[1]));
        }
        assert!(Tree::generate(0, Shape::Random, &mut Random::new(1, 0)).is_empty());
    }
}
