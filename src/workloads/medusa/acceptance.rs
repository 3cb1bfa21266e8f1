//! Which candidates of a verified tree are kept.

use super::tree::Tree;

/// Greedy: a node is kept when its parent is and the base model, after the parent, would have said
/// just its token. Gives back the kept path from node 0 down, which is the longest; of two equally
/// long ones that with the least last node.
pub fn greedy<T: PartialEq>(tree: &Tree, tokens: &[T], after: &[T]) -> Vec<usize> {
    longest(tree, |node, parent| tokens[node] == after[parent])
}

/// The path of kept nodes that reaches deepest.
fn longest(tree: &Tree, keeps: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut kept = vec![true; tree.len()];
    let mut deepest = 0;
    for node in 1..tree.len() {
        let parent = tree.parent(node).unwrap_or(0);
        kept[node] = kept[parent] && keeps(node, parent);
        if kept[node] && tree.depth(node) > tree.depth(deepest) {
            deepest = node;
        }
    }
    tree.path(deepest)
}

/// The rule of typical acceptance (Hewitt et al. 2022; Cai et al. 2024, equation 2): a token is
/// typical when p > min(epsilon, delta exp(-H)), where p is its probability after the parent and H
/// the entropy there, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Typical {
    /// The hard threshold: a likelier token is always kept.
    pub epsilon: f64,
    /// The threshold that falls with entropy: where much is possible, more is kept.
    pub delta: f64,
    /// Logits are divided by it.
    pub temperature: f64,
}

/// Probabilities after a node, and what they must exceed.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub probabilities: Vec<f64>,
    pub entropy: f64,
    pub threshold: f64,
}

impl Typical {
    /// At least one logit must be finite, none NaN or +infinity.
    pub fn judge(&self, logits: impl Iterator<Item = f64> + Clone) -> Judgement {
        let scaled = logits.map(|logit| logit / self.temperature);
        let most = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
        let mut probabilities: Vec<f64> = scaled.map(|logit| (logit - most).exp()).collect();
        let total: f64 = probabilities.iter().sum();
        let mut entropy = 0.0;
        for p in &mut probabilities {
            *p /= total;
            if *p > 0.0 {
                entropy -= *p * p.ln();
            }
        }
        // -0.0 where one token has it all.
        let entropy = entropy.max(0.0);
        Judgement {
            threshold: self.epsilon.min(self.delta * (-entropy).exp()),
            probabilities,
            entropy,
        }
    }

    /// The kept path, the longest; of equally long ones the likelier, then that with the least last
    /// node. `logits` gives those after a node.
    pub fn accept<'l>(&self, tree: &Tree, tokens: &[u8], logits: impl Fn(usize) -> &'l [f32]) -> Vec<usize> {
        let mut judged: Vec<Option<Judgement>> = vec![None; tree.len()];
        let mut likelihood = vec![None; tree.len()];
        likelihood[0] = Some(0.0);
        let mut best = 0;
        for node in 1..tree.len() {
            let parent = tree.parent(node).unwrap_or(0);
            let Some(before) = likelihood[parent] else {
                continue;
            };
            let judgement =
                judged[parent].get_or_insert_with(|| self.judge(logits(parent).iter().map(|logit| f64::from(*logit))));
            let p = judgement.probabilities[usize::from(tokens[node])];
            if p > judgement.threshold {
                let here = before + p.ln();
                likelihood[node] = Some(here);
                let (depth, reached) = (tree.depth(node), tree.depth(best));
                if depth > reached || (depth == reached && Some(here) > likelihood[best]) {
                    best = node;
                }
            }
        }
        tree.path(best)
    }
}

/// The likeliest token; of equally likely ones the least.
pub fn argmax(logits: &[f32]) -> u8 {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    best as u8
}

/// The `count` likeliest tokens, likeliest first; of equally likely ones the lesser first.
pub fn top(logits: &[f32], count: usize, best: &mut Vec<u8>) {
    best.clear();
    for (at, logit) in logits.iter().enumerate() {
        let place = best.partition_point(|other| logits[usize::from(*other)] >= *logit);
        if place < count {
            best.truncate(count - 1);
            best.insert(place, at as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::new(&[vec![0], vec![1], vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 0, 0]]).unwrap()
    }

    #[test]
    fn greedy_keeps_what_the_base_model_would_have_said() {
        // Nodes: 0; 1 and 2 below it; 3 and 4 below 1; 5 below 2; 6 below 5.
        let tokens = [7, 1, 2, 3, 4, 5, 6];
        for (after, expected) in [
            ([9, 0, 0, 0, 0, 0, 0], vec![0]),
            ([1, 9, 0, 0, 0, 0, 0], vec![0, 1]),
            ([1, 4, 0, 0, 0, 0, 0], vec![0, 1, 4]),
            ([2, 3, 5, 0, 0, 6, 0], vec![0, 2, 5, 6]),
            // A node whose parent is not kept is not kept.
            ([1, 0, 5, 0, 0, 6, 0], vec![0, 1]),
        ] {
            assert_eq!(greedy(&tree(), &tokens, &after), expected);
        }
    }

    #[test]
    fn the_threshold_is_the_papers() {
        let rule = Typical {
            epsilon: 0.1,
            delta: 0.3,
            temperature: 1.0,
        };
        // Two equal tokens: H = ln 2, exp(-H) = 1/2.
        let judged = rule.judge([0.0, 0.0, f64::NEG_INFINITY].into_iter());
        assert!((judged.entropy - 2_f64.ln()).abs() < 1e-15);
        assert_eq!(judged.threshold, 0.1);
        assert_eq!(judged.probabilities, [0.5, 0.5, 0.0]);
        // 64 equal tokens: 0.3 / 64 is less than 0.1.
        let judged = rule.judge(std::iter::repeat_n(3.0, 64));
        assert!((judged.threshold - 0.3 / 64.0).abs() < 1e-15);
        // Halving the temperature doubles the logits.
        let cold = Typical {
            temperature: 0.5,
            ..rule
        };
        let judged = (cold.judge([1.0, 0.0].into_iter()), rule.judge([2.0, 0.0].into_iter()));
        assert_eq!(judged.0.probabilities, judged.1.probabilities);
    }

    #[test]
    fn typical_keeps_the_longest_and_then_the_likeliest_path() {
        let rule = Typical {
            epsilon: 0.1,
            delta: 1.0,
            temperature: 1.0,
        };
        let tokens = [0, 1, 2, 1, 2, 0, 1];
        let even = [0.0; 3];
        let only = |token: usize| {
            let mut logits = [-20.0; 3];
            logits[token] = 0.0;
            logits
        };
        // All possible everywhere: the deepest node is kept.
        assert_eq!(rule.accept(&tree(), &tokens, |_| &even), [0, 2, 5, 6]);
        // After node 2 nothing of the tree is: the likelier of nodes 3 and 4.
        let after = [even, [0.0, 0.1, 0.4], only(1), even, even, even, even];
        assert_eq!(rule.accept(&tree(), &tokens, |node| &after[node]), [0, 1, 4]);
        // Equally likely: the first.
        let after = [even, even, only(1), even, even, even, even];
        assert_eq!(rule.accept(&tree(), &tokens, |node| &after[node]), [0, 1, 3]);
        let never = [only(0); 7];
        assert_eq!(rule.accept(&tree(), &tokens, |node| &never[node]), [0]);
    }

    #[test]
    fn the_likeliest_are_sorted_and_ties_go_to_the_least() {
        let logits = [1.0, 3.0, 2.0, 3.0, f32::NEG_INFINITY];
        let mut best = Vec::new();
        top(&logits, 3, &mut best);
        assert_eq!(best, [1, 3, 2]);
        top(&logits, 9, &mut best);
        assert_eq!(best, [1, 3, 2, 0, 4]);
        top(&logits, 1, &mut best);
        assert_eq!(best, [argmax(&logits)]);
    }
}
