//! Medusa decoding: several tokens a step from one language model with extra heads.
//!
//! A language model says one token at a time, and on a processor each of them costs a reading of all
//! weights. Medusa (Cai et al. 2024) guesses ahead: from the hidden state that the next token is made
//! of, K extra heads guess the tokens after it ([`shape`]). Their likeliest guesses make a tree of
//! candidates ([`tree`]), one pass verifies all of it, each candidate seeing its ancestors only
//! ([`attention`]), and the longest path that the base model agrees with is kept ([`acceptance`],
//! [`decode`]). A pass over few tokens costs little more than over one, since the weights are read
//! once for all ([`packed`]); so the tree is as large as measured accuracy and measured cost make
//! worth while.
//!
//! Greedy acceptance says *exactly* what plain greedy decoding says: a candidate's bits depend on the
//! tokens on its own path alone. Typical acceptance keeps what is likely enough by the threshold
//! min(epsilon, delta exp(-H)), and so says something else, faster.
//!
//! The model is small and real: four layers over 64 characters ([`alphabet`]), trained on the text in
//! `text/` by [`network`] and the trainer of mixed precision, with attention by FlashAttention. Its
//! checkpoint is `model.bin`; `make models` makes it again. [`oracle`] holds decoding against the
//! definition. Units: probabilities are shares of 1, entropy is in nats, costs are multiples of a pass
//! over one token.

pub mod acceptance;
pub mod alphabet;
mod attention;
mod decode;
mod generate;
mod model;
mod network;
mod oracle;
mod packed;
mod shape;
mod simd;
pub mod tree;
mod vector;
mod workload;

pub use decode::Decoder;
pub use generate::{Guessed, Mode, Said, accuracies, generate, go_on};
pub use model::{COSTS, Model, RANKS};
pub use network::{Backbone, Drafts, Windows};
pub use packed::rounded;
pub use shape::Shape;
pub use tree::Tree;
pub use workload::Medusa;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Element;
    use crate::mixed_precision::Network;
    use crate::random::Random;
    use simd::Level;

    /// A model of random weights: small, and as hard to guess as can be.
    pub fn random_model(seed: u64) -> Model {
        let shape = Shape {
            width: 64,
            layers: 2,
            inner: 80,
            drafts: 3,
        };
        let base = Network::<f32>::initial(&Backbone { shape }, seed);
        // Larger than for training: a peaked distribution.
        let base: Vec<f32> = base.iter().map(|weight| 3.0 * weight).collect();
        let base = rounded(&base);
        let backbone: Vec<f32> = base.iter().map(|weight| weight.wide()).collect();
        let network = Drafts {
            shape,
            backbone: &backbone,
        };
        let mut random = Random::new(seed, 5);
        let drafts: Vec<f32> = Network::<f32>::initial(&network, seed)
            .iter()
            .map(|weight| weight + (random.below(1000) as f32 / 1000.0 - 0.5) * 0.1)
            .collect();
        let accuracies = vec![vec![0.5, 0.3, 0.1], vec![0.4, 0.3, 0.2], vec![0.3, 0.2]];
        Model::new(shape, &base, &rounded(&drafts), accuracies, vec![1.0; COSTS])
    }

    fn random_text(random: &mut Random, length: usize) -> Vec<u8> {
        (0..length).map(|_| random.below(64) as u8).collect()
    }

    #[test]
    fn a_pass_gives_the_logits_of_the_definition() {
        let model = random_model(1);
        let text = random_text(&mut Random::new(1, 0), 90);
        let expected = oracle::logits(&model, &text, 0);
        for level in Level::all() {
            let mut decoder = Decoder::at(level, &model, 100, 8);
            let mut worst = 0.0_f64;
            for piece in text.chunks(7) {
                let start = decoder.length();
                decoder.pass(piece, &Tree::chain(piece.len()));
                for row in 0..piece.len() {
                    for (ours, theirs) in decoder.logits(row).iter().zip(&expected[(start + row) * 64..]) {
                        worst = worst.max((f64::from(*ours) - theirs).abs());
                    }
                }
                decoder.keep(&(0..piece.len()).collect::<Vec<_>>());
            }
            assert!(worst < 1e-3, "{level:?}: {worst}");
        }
    }

    #[test]
    fn greedy_medusa_says_exactly_what_plain_decoding_says() {
        for level in Level::all() {
            for seed in 0..6 {
                let model = random_model(seed);
                let mut random = Random::new(seed, 1);
                for nodes in [1, 2, 5, 12, 33, 64] {
                    let tree = model.tree(nodes);
                    let prompt_length = 1 + random.below(70) as usize;
                    let prompt = random_text(&mut random, prompt_length);
                    let mut decoder = Decoder::at(level, &model, 200, 64);
                    let plain = generate(&mut decoder, &model, Mode::Plain, &tree, &prompt, 60);
                    let greedy = generate(&mut decoder, &model, Mode::Greedy, &tree, &prompt, 60);
                    assert_eq!(plain.tokens, greedy.tokens, "{level:?} seed {seed}, {nodes} nodes");
                }
            }
        }
    }

    /// Stronger than equal text: every logit of every node of a tree has the bits that plain passes
    /// over its path give, and what is kept of it goes on with the same bits.
    #[test]
    fn a_node_of_a_tree_has_the_bits_of_a_plain_pass() {
        let model = random_model(7);
        let mut random = Random::new(7, 2);
        let choices: Vec<Vec<usize>> = [
            &[0][..],
            &[1],
            &[2],
            &[0, 0],
            &[0, 1],
            &[1, 0],
            &[2, 3],
            &[1, 0, 0],
            &[1, 0, 4],
        ]
        .iter()
        .map(|choice| choice.to_vec())
        .collect();
        let tree = Tree::new(&choices).unwrap();
        let bits = |decoder: &Decoder<'_>, node: usize| -> Vec<u32> {
            decoder.logits(node).iter().map(|logit| logit.to_bits()).collect()
        };
        for level in Level::all() {
            for length in [1, 15, 16, 63, 64, 90] {
                let prompt = random_text(&mut random, length);
                let candidates = random_text(&mut random, tree.len());
                for last in 0..tree.len() {
                    let path = tree.path(last);
                    let mut at_once = Decoder::at(level, &model, 160, 16);
                    at_once.read(&prompt);
                    at_once.pass(&candidates, &tree);
                    let mut one_by_one = Decoder::at(level, &model, 160, 5);
                    one_by_one.read(&prompt);
                    for node in &path {
                        one_by_one.pass(&[candidates[*node]], &Tree::root());
                        one_by_one.keep(&[0]);
                        assert_eq!(
                            bits(&at_once, *node),
                            bits(&one_by_one, 0),
                            "{level:?} {length}, node {node}"
                        );
                    }
                    at_once.keep(&path);
                    for decoder in [&mut at_once, &mut one_by_one] {
                        decoder.pass(&[9], &Tree::root());
                    }
                    assert_eq!(
                        bits(&at_once, 0),
                        bits(&one_by_one, 0),
                        "{level:?} {length}, after {path:?}"
                    );
                }
            }
        }
    }
}
