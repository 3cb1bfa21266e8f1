//! The model's definition, in f64 and without a cache: what decoding is checked against.
//!
//! Shares no code with decoding but the place of the weights: every token is computed from all tokens
//! before it, attention by its textbook formula, sums in f64 in plain order.

use super::alphabet::VOCABULARY;
use super::model::Model;
use super::packed::Packed;
use super::shape::{EPSILON, Shape};
use crate::linear::bf16;

/// Logits after each token of a text from `first` on: `[tokens - first][vocabulary]`.
pub fn logits(model: &Model, text: &[u8], first: usize) -> Vec<f64> {
    let shape = model.shape;
    let width = shape.width;
    let mut stream: Vec<f64> = text
        .iter()
        .flat_map(|token| {
            model.embed[usize::from(*token) * width..][..width]
                .iter()
                .map(|x| x.to_f64())
        })
        .collect();
    for layer in 0..shape.layers {
        let matrices = &model.layers[layer];
        let qkv: Vec<Vec<f64>> = stream
            .chunks_exact(width)
            .enumerate()
            .map(|(position, row)| {
                let mut qkv = times(&matrices.qkv, &normal(row));
                for head in qkv[..2 * width].chunks_exact_mut(Shape::HEAD_WIDTH) {
                    turn(head, position);
                }
                qkv
            })
            .collect();
        for (position, row) in stream.chunks_exact_mut(width).enumerate() {
            let mixed: Vec<f64> = (0..shape.heads())
                .flat_map(|head| attention(&qkv[..=position], head * Shape::HEAD_WIDTH, width))
                .collect();
            plus(row, &times(&matrices.out, &mixed));
            let mut up = times(&matrices.up, &normal(row));
            for up in &mut up {
                *up = up.max(0.0).powi(2);
            }
            plus(row, &times(&matrices.down, &up));
        }
    }
    stream[first * width..]
        .chunks_exact(width)
        .flat_map(|row| times(&model.unembed, &normal(row)))
        .collect()
}

/// The last query over all keys.
fn attention(qkv: &[Vec<f64>], head: usize, width: usize) -> Vec<f64> {
    let part =
        |row: &'_ Vec<f64>, which: usize| -> Vec<f64> { row[which * width + head..][..Shape::HEAD_WIDTH].to_vec() };
    let query = part(&qkv[qkv.len() - 1], 0);
    let scores: Vec<f64> = qkv
        .iter()
        .map(|row| {
            let key = &row[width + head..][..Shape::HEAD_WIDTH];
            let product: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
            product / (Shape::HEAD_WIDTH as f64).sqrt()
        })
        .collect();
    let most = scores.iter().fold(f64::NEG_INFINITY, |most, score| most.max(*score));
    let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
    let mut mixed = vec![0.0; Shape::HEAD_WIDTH];
    for (score, row) in scores.iter().zip(qkv) {
        let weight = (score - most).exp() / total;
        for (mixed, value) in mixed.iter_mut().zip(&row[2 * width + head..]) {
            *mixed += weight * value;
        }
    }
    mixed
}

fn normal(row: &[f64]) -> Vec<f64> {
    let square: f64 = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
    let root = (square + f64::from(EPSILON)).sqrt();
    row.iter().map(|x| x / root).collect()
}

fn turn(head: &mut [f64], position: usize) {
    let half = head.len() / 2;
    for pair in 0..half {
        let angle = position as f64 / 10_000_f64.powf(2.0 * pair as f64 / head.len() as f64);
        let (low, high) = (head[pair], head[pair + half]);
        head[pair] = low * angle.cos() - high * angle.sin();
        head[pair + half] = low * angle.sin() + high * angle.cos();
    }
}

/// weights x, of x rounded to bf16, as the model is defined.
fn times(weights: &Packed, x: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; weights.outputs()];
    for (pair, x) in x.chunks_exact(2).enumerate() {
        let [low, high] = [x[0], x[1]].map(|x| bf16::from_f32(x as f32).to_f64());
        for (sum, word) in sums.iter_mut().zip(weights.of_inputs(pair)) {
            *sum += f64::from(f32::from_bits(word << 16)) * low + f64::from(f32::from_bits(word >> 16 << 16)) * high;
        }
    }
    sums
}

fn plus(row: &mut [f64], block: &[f64]) {
    for (row, block) in row.iter_mut().zip(block) {
        *row += block;
    }
}

/// How far two logits may lie apart and still be a tie. Inputs of products are rounded to bf16: where
/// f32 and f64 sums fall on two sides of a rounding boundary, the rounded value differs by one part in
/// 256, and a few such values move a logit by some thousandths. A test holds decoding to half of this.
pub const MARGIN: f64 = 0.1;

/// Whether `token` is the likeliest, or too close to it to tell.
pub fn allows(logits: &[f64], token: u8) -> bool {
    debug_assert_eq!(logits.len(), VOCABULARY);
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, logit| most.max(*logit));
    logits[usize::from(token)] >= most - MARGIN
}
