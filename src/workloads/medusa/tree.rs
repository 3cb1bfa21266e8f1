//! Trees of candidates: what Medusa's heads guess, laid out so that one pass can verify all of it.
//!
//! Node 0 is the base model's own token. Every other node is a *choice* as the paper's code writes
//! it: the path `[2, 0]` is the first guess of head 2 after the third guess of head 1. Nodes are
//! sorted by depth and then by path, so a parent comes before its children. A node sees the prefix,
//! its ancestors and itself: [`Tree::ancestors`] is that mask, a bit for each node.

use crate::BadInput;

/// A tree of candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    /// Node 0's own parent is itself.
    parent: usize,
    depth: usize,
    /// Which guess of head `depth` it is, from 0.
    rank: usize,
}

impl Tree {
    /// Node 0 alone: a plain step.
    pub fn root() -> Tree {
        Tree::chain(1)
    }

    /// Each node the child of the one before, as in a text that is given.
    pub fn chain(nodes: usize) -> Tree {
        let nodes = (0..nodes)
            .map(|at| Node {
                parent: at.saturating_sub(1),
                depth: at,
                rank: 0,
            })
            .collect();
        Tree { nodes }
    }

    /// From choices in any order. A choice without its parent, an empty one and one given twice are
    /// refused.
    pub fn new(choices: &[Vec<usize>]) -> Result<Tree, BadInput> {
        let refuse = |choice: &[usize], why: String| Err(BadInput::new("choices", format!("{choice:?} {why}")));
        let mut sorted: Vec<&[usize]> = choices.iter().map(Vec::as_slice).collect();
        sorted.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        let mut nodes = vec![Node {
            parent: 0,
            depth: 0,
            rank: 0,
        }];
        for (at, choice) in sorted.iter().enumerate() {
            let Some((rank, before)) = choice.split_last() else {
                return refuse(
                    choice,
                    "is empty; that is node 0, the base model's own token, which is always there".to_owned(),
                );
            };
            if at > 0 && sorted[at - 1] == *choice {
                return refuse(choice, "is given twice; keep one".to_owned());
            }
            let parent = if before.is_empty() {
                0
            } else {
                let by_path = |other: &&[usize]| other.len().cmp(&before.len()).then_with(|| (*other).cmp(before));
                match sorted.binary_search_by(by_path) {
                    Ok(found) => found + 1,
                    Err(_) => return refuse(choice, format!("has no parent among the choices; give {before:?} too")),
                }
            };
            nodes.push(Node {
                parent,
                depth: choice.len(),
                rank: *rank,
            });
        }
        Ok(Tree { nodes })
    }

    /// The tree of `nodes` nodes that keeps most tokens a step, if head k's guess of rank r is right
    /// with the chance `accuracies[k - 1][r]`, whatever the others are: as in the paper, the node
    /// with the greatest product along its path is added again and again. Stops early when nothing
    /// is left that has a chance.
    pub fn of_best(accuracies: &[Vec<f64>], nodes: usize) -> Tree {
        let mut choices: Vec<Vec<usize>> = Vec::new();
        // What could come next, with its chance: first children and next siblings of what is in.
        let mut front = vec![(chance(accuracies, 0, 0), Vec::new(), 0_usize)];
        while choices.len() + 1 < nodes {
            // Of equal chances the earliest: which one must not depend on anything else.
            let best = (0..front.len()).reduce(|best, at| if front[at].0 > front[best].0 { at } else { best });
            let Some(best) = best.filter(|best| front[*best].0 > 0.0) else {
                break;
            };
            let (product, before, rank) = front.swap_remove(best);
            let depth = before.len();
            let here = chance(accuracies, depth, rank);
            front.push((
                product / here * chance(accuracies, depth, rank + 1),
                before.clone(),
                rank + 1,
            ));
            let mut choice = before;
            choice.push(rank);
            front.push((product * chance(accuracies, depth + 1, 0), choice.clone(), 0));
            choices.push(choice);
        }
        Tree::new(&choices).unwrap_or_else(|refused| unreachable!("{refused}"))
    }

    /// Tokens a step keeps on average, node 0 included, by the same rule as [`Tree::of_best`].
    pub fn expected(&self, accuracies: &[Vec<f64>]) -> f64 {
        let mut chances = vec![1.0; self.len()];
        for at in 1..self.len() {
            let node = &self.nodes[at];
            chances[at] = chances[node.parent] * chance(accuracies, node.depth - 1, node.rank);
        }
        chances.iter().sum()
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// None for node 0.
    pub fn parent(&self, node: usize) -> Option<usize> {
        (node > 0).then(|| self.nodes[node].parent)
    }

    pub fn depth(&self, node: usize) -> usize {
        self.nodes[node].depth
    }

    pub fn rank(&self, node: usize) -> usize {
        self.nodes[node].rank
    }

    /// How many guesses of any one head it takes.
    pub fn ranks(&self) -> usize {
        self.nodes[1.min(self.len())..]
            .iter()
            .map(|node| node.rank + 1)
            .max()
            .unwrap_or(0)
    }

    /// From node 0 down to `node`, both included.
    pub fn path(&self, node: usize) -> Vec<usize> {
        let mut path = vec![node];
        let mut at = node;
        while let Some(parent) = self.parent(at) {
            path.push(parent);
            at = parent;
        }
        path.reverse();
        path
    }

    /// What each node sees of the tree, itself included: bit `a` of word `n` for node `a`.
    ///
    /// Panics with more than 64 nodes.
    pub fn ancestors(&self) -> Vec<u64> {
        assert!(self.len() <= 64, "a mask has 64 bits");
        let mut masks: Vec<u64> = Vec::with_capacity(self.len());
        for at in 0..self.len() {
            let above = if at == 0 { 0 } else { masks[self.nodes[at].parent] };
            masks.push(above | 1 << at);
        }
        masks
    }
}

/// Ranks whose accuracy nobody measured have no chance.
fn chance(accuracies: &[Vec<f64>], head: usize, rank: usize) -> f64 {
    accuracies
        .get(head)
        .and_then(|ranks| ranks.get(rank))
        .copied()
        .unwrap_or(0.0)
}

/// How many nodes keep most tokens a second: `costs[t]` is the time that a pass over t + 1 rows takes.
pub fn best_size(accuracies: &[Vec<f64>], costs: &[f64]) -> usize {
    let rate = |nodes: usize| {
        let tree = Tree::of_best(accuracies, nodes);
        tree.expected(accuracies) / costs[nodes - 1]
    };
    (1..=costs.len())
        .map(|nodes| (nodes, rate(nodes)))
        .reduce(|best, other| if other.1 > best.1 { other } else { best })
        .map_or(1, |(nodes, _)| nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(choices: &[&[usize]]) -> Result<Tree, String> {
        let choices: Vec<Vec<usize>> = choices.iter().map(|choice| choice.to_vec()).collect();
        Tree::new(&choices).map_err(|refused| refused.to_string())
    }

    #[test]
    fn nodes_are_sorted_and_know_their_parents() {
        let tree = tree(&[&[1], &[0, 0], &[0], &[0, 1], &[0, 0, 0], &[1, 0]]).unwrap();
        let parents: Vec<_> = (0..tree.len()).map(|node| tree.parent(node)).collect();
        let some = |parents: &[usize]| parents.iter().map(|parent| Some(*parent)).collect::<Vec<_>>();
        assert_eq!(parents[0], None);
        assert_eq!(parents[1..], some(&[0, 0, 1, 1, 2, 3]));
        let depths: Vec<_> = (0..tree.len()).map(|node| tree.depth(node)).collect();
        assert_eq!(depths, [0, 1, 1, 2, 2, 2, 3]);
        assert_eq!(tree.path(6), [0, 1, 3, 6]);
        assert_eq!(
            tree.ancestors(),
            [0b1, 0b11, 0b101, 0b1011, 0b10011, 0b10_0101, 0b100_1011]
        );
        assert_eq!(tree.ranks(), 2);
    }

    #[test]
    fn wrong_choices_are_refused() {
        assert_eq!(
            tree(&[&[0], &[1, 0]]).unwrap_err(),
            "choices: [1, 0] has no parent among the choices; give [1] too"
        );
        assert_eq!(
            tree(&[&[0], &[0]]).unwrap_err(),
            "choices: [0] is given twice; keep one"
        );
        assert!(tree(&[&[]]).unwrap_err().contains("node 0"));
        assert_eq!(tree(&[]).unwrap(), Tree::root());
    }

    #[test]
    fn the_best_tree_takes_the_likeliest_nodes_first() {
        let accuracies = vec![vec![0.6, 0.2], vec![0.5, 0.3]];
        let sized = |nodes| Tree::of_best(&accuracies, nodes);
        // 0.6, then 0.6 * 0.5 = 0.3, then 0.2 against 0.6 * 0.3 = 0.18.
        assert_eq!(sized(1), Tree::root());
        assert_eq!(sized(3), tree(&[&[0], &[0, 0]]).unwrap());
        assert_eq!(sized(4), tree(&[&[0], &[0, 0], &[1]]).unwrap());
        assert_eq!(sized(5), tree(&[&[0], &[0, 0], &[1], &[0, 1]]).unwrap());
        assert!((sized(5).expected(&accuracies) - (1.0 + 0.6 + 0.3 + 0.2 + 0.18)).abs() < 1e-12);
        // Six choices have a chance at all.
        assert_eq!(sized(64).len(), 7);
    }

    #[test]
    fn the_size_is_where_tokens_per_second_are_most() {
        let accuracies = vec![vec![0.8], vec![0.7], vec![0.5]];
        // Kept tokens: 1, 1.8, 2.36, 2.64.
        assert_eq!(best_size(&accuracies, &[1.0, 1.1, 1.2, 1.3]), 4);
        assert_eq!(best_size(&accuracies, &[1.0, 1.1, 1.6, 2.2]), 2);
        assert_eq!(best_size(&accuracies, &[1.0, 2.0, 3.0, 4.0]), 1);
        assert_eq!(best_size(&accuracies, &[]), 1);
    }

    proptest! {
        /// By trying every tree of four nodes over two heads with two ranks.
        #[test]
        fn no_other_tree_of_its_size_keeps_more(chances in proptest::collection::vec(0.01..0.5_f64, 4)) {
            let accuracies = vec![
                vec![chances[0].max(chances[1]), chances[0].min(chances[1])],
                vec![chances[2].max(chances[3]), chances[2].min(chances[3])],
            ];
            let all: [&[usize]; 6] = [&[0], &[1], &[0, 0], &[0, 1], &[1, 0], &[1, 1]];
            for nodes in 1..=7_usize {
                let best = Tree::of_best(&accuracies, nodes).expected(&accuracies);
                for set in 0_u32..64 {
                    let chosen: Vec<&[usize]> = (0..6).filter(|at| set >> at & 1 == 1).map(|at| all[at]).collect();
                    if chosen.len() + 1 != nodes {
                        continue;
                    }
                    if let Ok(tree) = tree(&chosen) {
                        prop_assert!(tree.expected(&accuracies) <= best + 1e-12);
                    }
                }
            }
        }
    }
}
