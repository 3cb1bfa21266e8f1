//! Decoding with a cache: a pass over a few candidates, and what is kept of it.
//!
//! One pass serves every mode. Plain decoding runs it over one row, the prompt over chains of them,
//! Medusa over a tree. A row's bits depend on the tokens on its own path alone: products of few rows
//! sum each output in one order ([`super::packed`]), attention sums in logical order
//! ([`super::attention`]), all else works on a row alone. So a candidate that is kept has exactly the
//! keys, values and logits that a plain step would have given it, and greedy Medusa cannot differ
//! from plain greedy decoding.
//!
//! The pass appends a row's keys and values in slots behind the prefix, one a node; [`Decoder::keep`]
//! then moves those of the kept path together and forgets the rest.

use super::alphabet::VOCABULARY;
use super::attention::{Cached, attend, capacity, exp, fold, fused};
use super::model::Model;
use super::packed::{Packed, round, values};
use super::shape::{EPSILON, Shape};
use super::simd::{Level, leveled};
use super::tree::Tree;
use crate::linear::Element;

const HEAD: usize = Shape::HEAD_WIDTH;

/// Rows that one pass takes at most: the bits of a mask.
pub const MOST_ROWS: usize = 64;

/// A text in the making: the cache of its keys and values, and room for a pass.
pub struct Decoder<'m> {
    model: &'m Model,
    level: Level,
    /// For each layer, `[heads][HEAD][capacity]`.
    keys: Vec<Vec<f32>>,
    /// For each layer, `[heads][capacity][HEAD]`.
    values: Vec<Vec<f32>>,
    capacity: usize,
    length: usize,
    rows: usize,
    stream: Vec<f32>,
    normal: Vec<f32>,
    wide: Vec<f32>,
    mixed: Vec<f32>,
    /// Rows rounded to bf16, for the products.
    pairs: Vec<u32>,
    /// The same of what every head reads: the last pass's hidden states.
    hidden: Vec<u32>,
    scores: Vec<f32>,
    logits: Vec<f32>,
    draft_logits: Vec<f32>,
}

impl<'m> Decoder<'m> {
    /// For texts of up to `tokens` tokens and passes over up to `rows` rows.
    pub fn new(model: &'m Model, tokens: usize, rows: usize) -> Decoder<'m> {
        Decoder::at(Level::best(), model, tokens, rows)
    }

    pub(super) fn at(level: Level, model: &'m Model, tokens: usize, rows: usize) -> Decoder<'m> {
        let rows = rows.clamp(1, MOST_ROWS);
        let Shape {
            width,
            layers,
            inner,
            drafts,
        } = model.shape;
        let capacity = capacity(tokens + rows);
        let cache = || vec![vec![0.0; width * capacity]; layers];
        Decoder {
            model,
            level,
            keys: cache(),
            values: cache(),
            capacity,
            length: 0,
            rows,
            stream: vec![0.0; rows * width],
            normal: vec![0.0; rows * width],
            wide: vec![0.0; rows * inner.max(3 * width)],
            mixed: vec![0.0; rows * width],
            pairs: vec![0; rows * inner.max(width) / 2],
            hidden: vec![0; rows * width / 2],
            scores: vec![0.0; 4 * capacity],
            logits: vec![0.0; rows * VOCABULARY],
            draft_logits: vec![0.0; drafts * VOCABULARY],
        }
    }

    /// Bytes that [`Decoder::new`] takes.
    pub fn bytes(shape: Shape, tokens: usize, rows: usize) -> u64 {
        let rows = rows.clamp(1, MOST_ROWS);
        let capacity = capacity(tokens + rows);
        let cache = 2 * shape.layers * (shape.width * capacity * 4 + 24);
        let row = 3 * shape.width
            + shape.inner.max(3 * shape.width)
            + shape.width / 2
            + shape.inner.max(shape.width) / 2
            + VOCABULARY;
        (cache + 4 * (rows * row + 4 * capacity + shape.drafts * VOCABULARY)) as u64
    }

    /// Tokens in the cache.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Forgets all text.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Reads a text that is given. Afterwards [`Decoder::logits`] of row 0 are those after its last
    /// token.
    ///
    /// Panics when nothing is given: there is nothing to go on from.
    pub fn read(&mut self, text: &[u8]) {
        assert!(!text.is_empty(), "a text has at least one token");
        let (most, last) = text.split_at(text.len() - 1);
        for piece in most.chunks(self.rows) {
            self.run(piece, &Tree::chain(piece.len()), false);
            self.length += piece.len();
        }
        self.run(last, &Tree::root(), true);
        self.length += 1;
    }

    /// One pass over a tree of candidates that follow the text. Nothing is kept yet.
    pub fn pass(&mut self, tokens: &[u8], tree: &Tree) {
        self.run(tokens, tree, true);
    }

    /// Keeps the nodes of a path from node 0 of the tree that was passed, and forgets the others.
    pub fn keep(&mut self, path: &[usize]) {
        for (place, node) in path.iter().enumerate() {
            let (to, from) = (self.length + place, self.length + node);
            // A node is never behind its place: what is moved was not yet written over.
            if to == from {
                continue;
            }
            for (keys, values) in self.keys.iter_mut().zip(&mut self.values) {
                for keys in keys.chunks_exact_mut(self.capacity) {
                    keys[to] = keys[from];
                }
                for values in values.chunks_exact_mut(self.capacity * HEAD) {
                    values.copy_within(from * HEAD..(from + 1) * HEAD, to * HEAD);
                }
            }
        }
        self.length += path.len();
    }

    /// Of the base model, after a node of the last pass.
    pub fn logits(&self, node: usize) -> &[f32] {
        &self.logits[node * VOCABULARY..][..VOCABULARY]
    }

    /// Of every Medusa head after a node of the last pass: head k, from 0, guesses the token k + 2
    /// places behind the node.
    pub fn draft(&mut self, node: usize) -> &[f32] {
        let (model, level, width) = (self.model, self.level, self.model.shape.width);
        let hidden = &self.hidden[node * width / 2..][..width / 2];
        let pairs = &mut self.pairs[..width / 2];
        let mixed = &mut self.mixed[..width];
        for (draft, logits) in model.drafts.iter().zip(self.draft_logits.chunks_exact_mut(VOCABULARY)) {
            draft.mix.times(level, 1, hidden, mixed);
            resume(level, mixed, hidden);
            round(level, mixed, pairs);
            draft.unembed.times(level, 1, pairs, logits);
        }
        &self.draft_logits
    }

    fn run(&mut self, tokens: &[u8], tree: &Tree, tells: bool) {
        let (model, shape, level) = (self.model, self.model.shape, self.level);
        let (width, rows) = (shape.width, tokens.len());
        assert!(
            rows == tree.len() && rows <= self.rows,
            "a token for each node, and room for them"
        );
        assert!(self.length + rows <= self.capacity, "the text has outgrown its cache");
        let ancestors = tree.ancestors();
        let stream = &mut self.stream[..rows * width];
        let normal = &mut self.normal[..rows * width];
        let mixed = &mut self.mixed[..rows * width];
        for (stream, token) in stream.chunks_exact_mut(width).zip(tokens) {
            let embed = &model.embed[usize::from(*token) * width..][..width];
            Element::widen_all(embed, stream);
        }
        for layer in 0..shape.layers {
            let matrices = &model.layers[layer];
            normalise(level, width, stream, normal);
            let qkv = &mut self.wide[..rows * 3 * width];
            multiply(level, &matrices.qkv, normal, &mut self.pairs, qkv);
            for (row, qkv) in qkv.chunks_exact_mut(3 * width).enumerate() {
                let position = self.length + tree.depth(row);
                let turns = &model.turns[position * (HEAD / 2)..][..HEAD / 2];
                rotate(level, &mut qkv[..2 * width], turns);
                for query in &mut qkv[..width] {
                    *query *= QUERY_SCALE;
                }
                let slot = self.length + row;
                for (keys, dimension) in self.keys[layer]
                    .chunks_exact_mut(self.capacity)
                    .zip(&qkv[width..2 * width])
                {
                    keys[slot] = *dimension;
                }
                for (values, value) in self.values[layer]
                    .chunks_exact_mut(self.capacity * HEAD)
                    .zip(qkv[2 * width..].chunks_exact(HEAD))
                {
                    values[slot * HEAD..][..HEAD].copy_from_slice(value);
                }
            }
            for head in 0..shape.heads() {
                let cached = Cached {
                    keys: &self.keys[layer][head * HEAD * self.capacity..][..HEAD * self.capacity],
                    values: &self.values[layer][head * HEAD * self.capacity..][..HEAD * self.capacity],
                    capacity: self.capacity,
                    prefix: self.length,
                };
                attend(
                    level,
                    cached,
                    &ancestors,
                    &qkv[head * HEAD..],
                    3 * width,
                    &mut self.scores,
                    &mut mixed[head * HEAD..],
                    width,
                );
            }
            multiply(level, &matrices.out, mixed, &mut self.pairs, normal);
            add(level, stream, normal);
            normalise(level, width, stream, normal);
            let up = &mut self.wide[..rows * shape.inner];
            multiply(level, &matrices.up, normal, &mut self.pairs, up);
            square(level, up);
            multiply(level, &matrices.down, up, &mut self.pairs, normal);
            add(level, stream, normal);
        }
        if tells {
            normalise(level, width, stream, normal);
            let logits = &mut self.logits[..rows * VOCABULARY];
            let hidden = &mut self.hidden[..rows * width / 2];
            round(level, normal, hidden);
            model.unembed.times(level, rows, hidden, logits);
        }
    }
}

/// Rows of values, rounded, times a matrix.
fn multiply(level: Level, matrix: &Packed, rows: &[f32], pairs: &mut [u32], outputs: &mut [f32]) {
    let pairs = &mut pairs[..rows.len() / 2];
    round(level, rows, pairs);
    matrix.times(level, rows.len() / matrix.inputs(), pairs, outputs);
}

/// 1 / sqrt(HEAD).
const QUERY_SCALE: f32 = 0.176_776_69;

const LANES: usize = 16;

leveled! {
    /// Each row over its root mean square.
    fn normalise<FUSED, V>(width: usize, stream: &[f32], normal: &mut [f32]) {
        for (stream, normal) in stream.chunks_exact(width).zip(normal.chunks_exact_mut(width)) {
            let mut sums = [0.0; LANES];
            let (vectors, rest) = stream.as_chunks::<LANES>();
            for vector in vectors {
                for lane in 0..LANES {
                    sums[lane] = fused::<FUSED>(vector[lane], vector[lane], sums[lane]);
                }
            }
            for (sum, value) in sums.iter_mut().zip(rest) {
                *sum = fused::<FUSED>(*value, *value, *sum);
            }
            let inverse = 1.0 / (fold(sums) / width as f32 + EPSILON).sqrt();
            for (normal, value) in normal.iter_mut().zip(stream) {
                *normal = value * inverse;
            }
        }
    }
}

leveled! {
    /// Turns every head's pairs of dimensions, (i, i + HEAD / 2), by their angles.
    fn rotate<FUSED, V>(heads: &mut [f32], turns: &[(f32, f32)]) {
        for head in heads.chunks_exact_mut(HEAD) {
            let (low, high) = head.split_at_mut(HEAD / 2);
            for ((low, high), (cos, sin)) in low.iter_mut().zip(high).zip(turns) {
                (*low, *high) = (
                    fused::<FUSED>(*low, *cos, -(*high * sin)),
                    fused::<FUSED>(*low, *sin, *high * cos),
                );
            }
        }
    }
}

leveled! {
    fn add<FUSED, V>(stream: &mut [f32], block: &[f32]) {
        for (stream, block) in stream.iter_mut().zip(block) {
            *stream += block;
        }
    }
}

leveled! {
    /// max(0, u) squared.
    fn square<FUSED, V>(up: &mut [f32]) {
        for up in up {
            let ramp = if *up > 0.0 { *up } else { 0.0 };
            *up = ramp * ramp;
        }
    }
}

leveled! {
    /// SiLU(x) + h.
    fn resume<FUSED, V>(mixed: &mut [f32], hidden: &[u32]) {
        let (mixed, _) = mixed.as_chunks_mut::<2>();
        for (mixed, hidden) in mixed.iter_mut().zip(hidden) {
            let hidden = values(*hidden);
            for side in 0..2 {
                // Further below zero exp would be infinite, and the quotient 0, which it is near enough.
                let x = if mixed[side] > -87.0 { mixed[side] } else { -87.0 };
                mixed[side] = x / (1.0 + exp::<FUSED>(-x)) + hidden[side];
            }
        }
    }
}
