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
    /// For each Medusa head, in how many passes its first guess could be compared with what was then
    /// said, and in how many it was right.
    pub guessed: Vec<Guessed>,
}

/// How often a head's first guess was right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guessed {
    pub compared: usize,
    pub right: usize,
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
    decoder.clear();
    decoder.read(prompt);
    go_on(decoder, model, mode, tree, count)
}

/// Says `count` tokens after what the decoder has just read.
pub fn go_on(decoder: &mut Decoder<'_>, model: &Model, mode: Mode, tree: &Tree, count: usize) -> Said {
    let mut said = Said {
        tokens: Vec::with_capacity(count + tree.len()),
        accepted: Vec::with_capacity(count),
        guessed: vec![Guessed::default(); model.shape.drafts],
    };
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
    // Each pass's first guesses, in a row, to be compared at the end.
    let mut first_guesses = Vec::with_capacity(count * guesses.len());
    while said.tokens.len() < count {
        candidates[0] = argmax(decoder.logits(last));
        if tree.len() > 1 {
            for (guesses, logits) in guesses.iter_mut().zip(decoder.draft(last).chunks_exact(VOCABULARY)) {
                top(logits, tree.ranks(), guesses);
                first_guesses.push(guesses[0]);
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
    let mut place = 0;
    for (accepted, guesses) in said
        .accepted
        .iter()
        .zip(first_guesses.chunks_exact(said.guessed.len().max(1)))
    {
        for (head, (guess, guessed)) in guesses.iter().zip(&mut said.guessed).enumerate() {
            if let Some(token) = said.tokens.get(place + head + 1) {
                guessed.compared += 1;
                guessed.right += usize::from(guess == token);
            }
        }
        place += accepted;
    }
    said.tokens.truncate(count);
    said
}

/// For each Medusa head and rank, the share of the tokens of a text that the guess told right; the
/// first `given` tokens of each text are context only.
pub fn accuracies<'t>(
    model: &Model,
    ranks: usize,
    given: usize,
    texts: impl Iterator<Item = &'t [u8]>,
) -> Vec<Vec<f64>> {
    let drafts = model.shape.drafts;
    let mut right = vec![vec![0_usize; ranks]; drafts];
    let mut compared = vec![0_usize; drafts];
    let mut guesses = Vec::with_capacity(ranks);
    let root = Tree::root();
    for text in texts {
        let mut decoder = Decoder::new(model, text.len(), 1);
        for (place, token) in text.iter().enumerate() {
            decoder.pass(&[*token], &root);
            decoder.keep(&[0]);
            if place + 1 < given {
                continue;
            }
            for (head, logits) in decoder.draft(0).chunks_exact(VOCABULARY).enumerate() {
                let Some(token) = text.get(place + head + 2) else {
                    break;
                };
                top(logits, ranks, &mut guesses);
                compared[head] += 1;
                if let Some(rank) = guesses.iter().position(|guess| guess == token) {
                    right[head][rank] += 1;
                }
            }
        }
    }
    right
        .iter()
        .zip(compared)
        .map(|(right, compared)| {
            right
                .iter()
                .map(|right| *right as f64 / compared.max(1) as f64)
                .collect()
        })
        .collect()
}
