//! Lowest common ancestor: in a binary tree, the deepest node that has both p and q below it or is
//! one of them.
//!
//! A single query walks the tree once ([`by_traversal`]). Batches prepare an index first and then
//! take constant time a query, by two methods that know nothing of each other: [`Preorder`], a
//! range minimum, and [`Inlabel`], Schieber and Vishkin's. Nothing here recurses: a chain of 10^7
//! nodes needs no more of the thread's stack than a single node. Values need not be ordered, as
//! they would be in a search tree; they must differ, since queries name nodes by value.

mod inlabel;
mod plain;
mod preorder;
mod tree;

pub use inlabel::Inlabel;
pub use plain::by_traversal;
pub use preorder::Preorder;
pub use tree::Tree;

use std::collections::HashMap;

use serde_json::{Value, json};

use super::digest::Digest;
use super::json::Case;
use super::random::Random;
use super::{About, Answer, BadInput, Domain, Join, Mismatch, Parameter, Params, Prepared, Workload};
use plain::by_climbing;
use tree::Shape;

/// Below this many queries a piece isn't worth another thread.
const SMALLEST_PIECE: usize = 1024;

/// Something prepared that answers queries about one tree in constant time.
pub trait AncestorIndex: Send + Sync {
    /// Of two nodes of the tree it was made for; nodes are numbered in level order.
    fn lowest_common_ancestor(&self, p: u32, q: u32) -> u32;

    /// Of many pairs. Here and not outside, so that it is one loop for each method, whose queries
    /// the processor can overlap.
    fn answer(&self, queries: &[(u32, u32)], answers: &mut [u32]) {
        for (answer, &(p, q)) in answers.iter_mut().zip(queries) {
            *answer = self.lowest_common_ancestor(p, q);
        }
    }
}

/// Answers many queries, in parallel.
pub fn answer_all(
    index: &dyn AncestorIndex,
    queries: &[(u32, u32)],
    answers: &mut [u32],
    join: &dyn Join,
    grain: usize,
) {
    if queries.len() <= grain.max(SMALLEST_PIECE) {
        index.answer(queries, answers);
        return;
    }
    let middle = queries.len() / 2;
    let (low, high) = answers.split_at_mut(middle);
    join.join(
        || answer_all(index, &queries[..middle], low, join, grain),
        || answer_all(index, &queries[middle..], high, join, grain),
    );
}

/// The catalogue's entry.
pub struct LowestCommonAncestor;

/// A query by traversal walks the tree; a batch of them must end some day.
const MOST_STEPS: i64 = 1_000_000_000;

static ABOUT: About = About {
    name: "lowest_common_ancestor",
    title: "Lowest common ancestor",
    summary: "The deepest node of a binary tree that has both p and q below it, or is one of them.",
    parameters: &[
        Parameter {
            name: "nodes",
            meaning: "nodes of the tree",
            unit: "nodes",
            domain: Domain::Integer {
                min: 1,
                max: 10_000_000,
            },
            default: "100000",
        },
        Parameter {
            name: "queries",
            meaning: "pairs of nodes asked for in one task",
            unit: "queries",
            domain: Domain::Integer {
                min: 1,
                max: 10_000_000,
            },
            default: "50000",
        },
        Parameter {
            name: "shape",
            meaning: "how the tree looks: random, as flat as can be, one chain, or a chain with a leaf at every node",
            unit: "",
            domain: Domain::Choice(&["random", "balanced", "chain", "caterpillar"]),
            default: "random",
        },
        Parameter {
            name: "method",
            meaning: "range minimum over the preorder, Schieber and Vishkin's labels, or a walk of the tree for every query",
            unit: "",
            domain: Domain::Choice(&["preorder", "inlabel", "traversal"]),
            default: "preorder",
        },
        Parameter {
            name: "inputs",
            meaning: "different batches of queries that tasks take in turn",
            unit: "inputs",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
    ],
    shared: "the tree, its index and the queries, read only",
    per_thread: "the answers of the task, allocated for it; a forked task's pieces write disjoint parts of them. With `traversal`, the way from the root",
    checked: "every answer against the other method; and as many as a million steps allow by climbing from both nodes",
    input_example: r#"{"tree":[3,5,1,6,2,0,8,null,null,7,4],"queries":[[5,1],[5,4]]}"#,
    output_example: r#"{"answers":[3,5]}"#,
    notes: "Preparation: preorder O(n + (n / 64) log n), inlabel O(n); a query O(1). Traversal: O(n) a query, at most 10^9 steps a task. \
            A node is its own ancestor. In the JSON form, the tree is in level order with null for a missing child and values that differ; \
            a query for a value that is not in the tree is refused.",
};

impl LowestCommonAncestor {
    fn shape(params: &Params) -> Shape {
        match params.text("shape") {
            "balanced" => Shape::Balanced,
            "chain" => Shape::Chain,
            "caterpillar" => Shape::Caterpillar,
            _ => Shape::Random,
        }
    }
}

impl Workload for LowestCommonAncestor {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        let nodes = params.integer("nodes") as u64;
        let queries = params.integer("queries") as u64;
        let inputs = params.integer("inputs") as u64;
        let workers = workers.max(1) as u64;
        let tree = nodes * (8 + 8 + 4);
        // Five arrays of four bytes and the table, which has an entry a level for every 64 nodes;
        // at first also the sizes. The labels need as much with the walk's stack.
        let levels = u64::from((nodes / 64 + 1).ilog2()) + 1;
        let preorder = nodes * 24 + (nodes / 64 + 1) * 4 * levels;
        let inlabel = nodes * (6 * 4 + 16);
        let index = match params.text("method") {
            "preorder" => preorder,
            "inlabel" => inlabel,
            _ => 0,
        };
        // While verifying, the other method's index, made once, and the depths.
        let oracle = if params.text("method") == "inlabel" {
            preorder
        } else {
            inlabel
        } + nodes * 4;
        let task = queries * 4
            + if params.text("method") == "traversal" {
                nodes * 16
            } else {
                0
            };
        tree + index + oracle + inputs * queries * 8 + workers * (2 * task + 1024) + 4096
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let (nodes, queries) = (params.integer("nodes"), params.integer("queries"));
        let walks = params.text("method") == "traversal";
        if walks && nodes.saturating_mul(queries) > MOST_STEPS {
            return Err(BadInput::new(
                "queries",
                format!(
                    "{queries} queries by traversal of {nodes} nodes take up to {} steps a task, more than {MOST_STEPS}; \
                     give at most {} queries or another method",
                    nodes.saturating_mul(queries),
                    (MOST_STEPS / nodes).max(1)
                ),
            ));
        }
        let tree = Tree::generate(nodes as usize, Self::shape(params), &mut Random::new(seed, 0));
        let index: Option<Box<dyn AncestorIndex>> = match params.text("method") {
            "preorder" => Some(Box::new(Preorder::new(&tree))),
            "inlabel" => Some(Box::new(Inlabel::new(&tree))),
            _ => None,
        };
        let batches = (0..params.size("inputs"))
            .map(|number| {
                let mut random = Random::new(seed, 1 + number as u64);
                let mut node = || random.below(nodes as u64) as u32;
                (0..queries).map(|_| (node(), node())).collect()
            })
            .collect();
        Ok(Box::new(Queries {
            by_labels: params.text("method") == "inlabel",
            tree,
            index,
            batches,
            oracle: std::sync::OnceLock::new(),
        }))
    }

    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
        let case = Case::open(input, &["tree", "queries"])?;
        let order = case.optional_integers("tree")?;
        let wanted = case.pairs("queries")?;
        let tree = Tree::from_level_order(&order)?;
        let mut by_value = HashMap::with_capacity(tree.len());
        for (node, value) in tree.values.iter().enumerate() {
            if by_value.insert(*value, node as u32).is_some() {
                return Err(BadInput::new(
                    "tree",
                    format!(
                        "the value {value} stands in it more than once; queries name nodes by value, so values must differ"
                    ),
                ));
            }
        }
        let queries = wanted
            .iter()
            .enumerate()
            .map(|(at, &(p, q))| {
                let node = |value: i64| {
                    by_value.get(&value).copied().ok_or_else(|| {
                        BadInput::new(
                            "queries",
                            format!("query {at}, [{p}, {q}]: no node of the tree has the value {value}"),
                        )
                    })
                };
                Ok((node(p)?, node(q)?))
            })
            .collect::<Result<Vec<_>, BadInput>>()?;
        let mut answers = vec![0; queries.len()];
        match queries[..] {
            [] => {}
            [(p, q)] => answers[0] = by_traversal(&tree, p, q),
            _ => answer_all(
                &Preorder::new(&tree),
                &queries,
                &mut answers,
                join,
                queries.len() / (4 * join.width()),
            ),
        }
        let answers: Vec<i64> = answers.iter().map(|node| tree.values[*node as usize]).collect();
        Ok(json!({ "answers": answers }))
    }
}

struct Queries {
    tree: Tree,
    /// None: a walk for every query.
    index: Option<Box<dyn AncestorIndex>>,
    by_labels: bool,
    batches: Vec<Vec<(u32, u32)>>,
    /// Made when the first answer is verified.
    oracle: std::sync::OnceLock<Oracle>,
}

struct Oracle {
    index: Box<dyn AncestorIndex>,
    depths: Vec<u32>,
}

/// A walk for every query, in the place of an index.
struct Walk<'a>(&'a Tree);

impl AncestorIndex for Walk<'_> {
    fn lowest_common_ancestor(&self, p: u32, q: u32) -> u32 {
        by_traversal(self.0, p, q)
    }
}

/// How many steps upwards the check by climbing may take for one answer.
const CLIMB: u64 = 1_000_000;

impl Queries {
    fn batch(&self, task: u64) -> &[(u32, u32)] {
        &self.batches[(task % self.batches.len() as u64) as usize]
    }

    fn digest(&self, answers: impl Iterator<Item = u32>) -> u64 {
        Digest::of(answers.map(|node| self.tree.values[node as usize] as u64))
    }
}

impl Prepared for Queries {
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        let queries = self.batch(task);
        let mut answers = vec![0_u32; queries.len()];
        let walk = Walk(&self.tree);
        let index = self.index.as_deref().unwrap_or(&walk);
        answer_all(index, queries, &mut answers, join, queries.len() / (4 * join.width()));
        let digest = self.digest(answers.iter().copied());
        Answer {
            text: format!("{} answers, digest {digest:016x}", answers.len()),
            words: vec![answers.len() as u64, digest],
        }
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let refuse = |message| Err(Mismatch { task, message });
        let oracle = self.oracle.get_or_init(|| Oracle {
            index: if self.by_labels {
                Box::new(Preorder::new(&self.tree))
            } else {
                Box::new(Inlabel::new(&self.tree))
            },
            depths: self.tree.depths(),
        });
        let queries = self.batch(task);
        let ask = |&(p, q): &(u32, u32)| oracle.index.lowest_common_ancestor(p, q);
        let digest = self.digest(queries.iter().map(ask));
        if answer.words != [queries.len() as u64, digest] {
            return refuse(format!(
                "{} but the other method gives {} answers, digest {digest:016x}",
                answer.text,
                queries.len()
            ));
        }
        // Both methods agree; do they agree with the plainest one?
        let mut budget = CLIMB;
        for query in queries {
            let (p, q) = *query;
            let cost = u64::from(oracle.depths[p as usize]) + u64::from(oracle.depths[q as usize]) + 1;
            if cost > budget {
                continue;
            }
            budget -= cost;
            let (found, climbed) = (ask(query), by_climbing(&self.tree, &oracle.depths, p, q));
            if found != climbed {
                return refuse(format!(
                    "nodes {p} and {q} meet at {climbed} when climbed from, not at {found}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{OnThreads, solve};
    use crate::{ParamValue, Sequential};
    use proptest::prelude::*;

    fn check(tree: &Tree, queries: impl Iterator<Item = (u32, u32)>) {
        let (preorder, inlabel, depths) = (Preorder::new(tree), Inlabel::new(tree), tree.depths());
        for (p, q) in queries {
            let expected = by_climbing(tree, &depths, p, q);
            assert_eq!(preorder.lowest_common_ancestor(p, q), expected, "preorder {p} {q}");
            assert_eq!(inlabel.lowest_common_ancestor(p, q), expected, "inlabel {p} {q}");
            assert_eq!(by_traversal(tree, p, q), expected, "traversal {p} {q}");
        }
    }

    #[test]
    fn all_methods_agree_on_every_pair_of_every_shape() {
        for shape in [Shape::Random, Shape::Balanced, Shape::Chain, Shape::Caterpillar] {
            for nodes in [1, 2, 3, 15, 16, 17, 33, 100] {
                let tree = Tree::generate(nodes, shape, &mut Random::new(9, nodes as u64));
                let nodes = nodes as u32;
                check(&tree, (0..nodes).flat_map(|p| (0..nodes).map(move |q| (p, q))));
            }
        }
    }

    #[test]
    fn the_shapes_on_the_json_path() {
        let tree = "[3,5,1,6,2,0,8,null,null,7,4]";
        for (queries, expected) in [
            ("[[5,1]]", "[3]"),
            ("[[5,4]]", "[5]"),
            ("[[7,7]]", "[7]"),
            ("[]", "[]"),
            ("[[6,4],[7,0],[0,8],[3,4]]", "[5,3,1,3]"),
        ] {
            let input = format!(r#"{{"tree":{tree},"queries":{queries}}}"#);
            assert_eq!(
                solve(&LowestCommonAncestor, &input).unwrap(),
                format!(r#"{{"answers":{expected}}}"#)
            );
        }
    }

    #[test]
    fn bad_cases_are_refused_by_name() {
        for (input, expected) in [
            (
                r#"{"tree":[1,2],"queries":[[1,2],[1,9]]}"#,
                "queries: query 1, [1, 9]: no node of the tree has the value 9",
            ),
            (
                r#"{"tree":[],"queries":[[1,2]]}"#,
                "queries: query 0, [1, 2]: no node of the tree has the value 1",
            ),
            (
                r#"{"tree":[1,2,1],"queries":[]}"#,
                "tree: the value 1 stands in it more than once; queries name nodes by value, so values must differ",
            ),
            (
                r#"{"tree":[1],"querys":[]}"#,
                "querys: is not a field of this case; did you mean `queries`?",
            ),
        ] {
            assert_eq!(solve(&LowestCommonAncestor, input).unwrap_err(), expected);
        }
        assert_eq!(
            solve(&LowestCommonAncestor, r#"{"tree":[],"queries":[]}"#).unwrap(),
            r#"{"answers":[]}"#
        );
    }

    #[test]
    fn a_degenerate_tree_needs_no_stack() {
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        let worked = small.spawn(|| {
            for shape in [Shape::Chain, Shape::Caterpillar] {
                let nodes = 1_000_000;
                let tree = Tree::generate(nodes, shape, &mut Random::new(2, 0));
                check(
                    &tree,
                    [(0, nodes as u32 - 1), (nodes as u32 - 1, nodes as u32 / 2)].into_iter(),
                );
            }
        });
        worked.unwrap().join().unwrap();
    }

    #[test]
    fn every_method_runs_and_verifies_as_a_task() {
        for method in ["preorder", "inlabel", "traversal"] {
            let given = [
                ("nodes".to_owned(), ParamValue::Integer(2000)),
                ("queries".to_owned(), ParamValue::Integer(5000)),
                ("method".to_owned(), ParamValue::Text(method.to_owned())),
            ];
            let params = Params::resolve(&ABOUT, &given).unwrap();
            let prepared = LowestCommonAncestor.prepare(&params, 1).unwrap();
            let answer = prepared.run(1, &OnThreads(2));
            assert_eq!(answer, prepared.run(1, &Sequential), "{method}");
            assert_eq!(prepared.verify(1, &answer), Ok(()), "{method}");
        }
    }

    #[test]
    fn a_batch_by_traversal_that_would_never_end_is_refused() {
        let given = [("method".to_owned(), ParamValue::Text("traversal".to_owned()))];
        let params = Params::resolve(&ABOUT, &given).unwrap();
        let refused = LowestCommonAncestor.prepare(&params, 1).err().unwrap();
        assert_eq!(refused.field, "queries");
        assert!(refused.message.contains("give at most 10000 queries"), "{refused}");
    }

    proptest! {
        #[test]
        fn all_methods_agree(seed in any::<u64>(), nodes in 1_usize..3000, shape in 0..4_usize) {
            let shape = [Shape::Random, Shape::Balanced, Shape::Chain, Shape::Caterpillar][shape];
            let mut random = Random::new(seed, 0);
            let tree = Tree::generate(nodes, shape, &mut random);
            let queries: Vec<_> = (0..20)
                .map(|_| (random.below(nodes as u64) as u32, random.below(nodes as u64) as u32))
                .collect();
            check(&tree, queries.into_iter());
        }
    }
}
