//! Plain decoding, and Medusa's: draft, verify, keep, again.

use super::acceptance::{Typical, argmax, greedy, top};
use super::alphabet::VOCABULARY;
use super::decode::Decoder;
use super::model::Model;
use super::tree::Tree;

/// How the next tokens are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The base model's likeliest token, one a pass.
    Plain,
    /// Medusa, keeping exactly what plain decoding would have said.
    Greedy,
    /// Medusa, keeping what is typical for the base model.
    Typical(Typical),
}

/// What was said, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub tokens: Vec<u8>,
    /// Tokens kept in each pass, of which the last may have been more than were wanted: their sum is
    /// at least the number of tokens.
    pub accepted: Vec<usize>,
}

/// Says `count` tokens after `prompt`. The decoder must have room for both and for the tree.
pub fn generate(
    decoder: &mut Decoder<'_>,
    model: &Model,
    mode: Mode,
    tree: &Tree,
    prompt: &[u8],
    count: usize,
) -> Said {
    let mut said = Said {
        tokens: Vec::with_capacity(count + tree.len()),
        accepted: Vec::with_capacity(count),
    };
    decoder.clear();
    decoder.read(prompt);
    if mode == Mode::Plain {
        let root = Tree::root();
        let mut next = argmax(decoder.logits(0));
        while said.tokens.len() < count {
            said.tokens.push(next);
            said.accepted.push(1);
            // The last token need not be read again.
            if said.tokens.len() < count {
                decoder.pass(&[next], &root);
                decoder.keep(&[0]);
                next = argmax(decoder.logits(0));
            }
        }
        return said;
    }
    let mut candidates = vec![0; tree.len()];
    let mut after = vec![0; tree.len()];
    let mut guesses = vec![Vec::with_capacity(tree.ranks()); model.shape.drafts];
    let mut last = 0;
    while said.tokens.len() < count {
        candidates[0] = argmax(decoder.logits(last));
        if tree.len() > 1 {
            for (guesses, logits) in guesses.iter_mut().zip(decoder.draft(last).chunks_exact(VOCABULARY)) {
                top(logits, tree.ranks(), guesses);
            }
        }
        for (node, candidate) in candidates.iter_mut().enumerate().skip(1) {
            *candidate = guesses[tree.depth(node) - 1][tree.rank(node)];
        }
        decoder.pass(&candidates, tree);
        let path = match mode {
            Mode::Typical(rule) => rule.accept(tree, &candidates, |node| decoder.logits(node)),
            _ => {
                for (node, after) in after.iter_mut().enumerate() {
                    *after = argmax(decoder.logits(node));
                }
                greedy(tree, &candidates, &after)
            }
        };
        decoder.keep(&path);
        said.tokens.extend(path.iter().map(|node| candidates[*node]));
        said.accepted.push(path.len());
        last = path[path.len() - 1];
    }
    said.tokens.truncate(count);
    said
}
