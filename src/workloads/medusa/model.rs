//! The trained model: its weights, and what training measured of it.
//!
//! The checkpoint is in the repository and in the binary: `model.bin`, little-endian, four sizes
//! (u32: width, layers, inner, heads of Medusa), how many ranks were measured (u32), for each Medusa
//! head the share of tokens that its guess of each rank told right (f32), the cost of a pass over 1, 2,
//! … [`COSTS`] rows relative to one (f32), then all weights as bf16: the base model's and the heads',
//! in the order of [`Shape`].

use std::ops::Range;
use std::sync::OnceLock;

use super::alphabet::VOCABULARY;
use super::decode::MOST_ROWS;
use super::packed::Packed;
use super::shape::{Shape, rotation};
use super::tree::{Tree, best_size};
use crate::linear::bf16;

/// Guesses of each head whose accuracy is measured.
pub const RANKS: usize = 8;
/// Passes over 1 to this many rows are timed.
pub const COSTS: usize = 16;

/// Weights in bf16, read only, shared by all who decode.
pub struct Model {
    pub shape: Shape,
    /// `[vocabulary][width]`.
    pub embed: Vec<bf16>,
    pub layers: Vec<Layer>,
    /// The base model's own head.
    pub unembed: Packed,
    pub drafts: Vec<Draft>,
    /// For each Medusa head, how often its guess of each rank is the token that the base model then
    /// says: from held-out prompts on.
    pub accuracies: Vec<Vec<f64>>,
    /// Of a pass over t + 1 rows relative to one, where the model was trained.
    pub costs: Vec<f64>,
    /// (cos, sin) for each position and pair of dimensions.
    pub turns: Vec<(f32, f32)>,
}

/// A layer's matrices.
pub struct Layer {
    pub qkv: Packed,
    pub out: Packed,
    pub up: Packed,
    pub down: Packed,
}

/// A Medusa head's: W1 and W2.
pub struct Draft {
    pub mix: Packed,
    pub unembed: Packed,
}

impl Model {
    fn matrices(&self) -> impl Iterator<Item = &Packed> {
        self.layers
            .iter()
            .flat_map(|layer| [&layer.qkv, &layer.out, &layer.up, &layer.down])
            .chain([&self.unembed])
            .chain(self.drafts.iter().flat_map(|draft| [&draft.mix, &draft.unembed]))
    }
}

/// Why a checkpoint could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint is {held} bytes long, but its sizes need {needed}; make it again with `make models`")]
pub struct BadCheckpoint {
    pub held: usize,
    pub needed: usize,
}

const SIZES: usize = 5;

impl Model {
    /// Panics when there are not as many weights as the shape has.
    pub fn new(shape: Shape, base: &[bf16], drafts: &[bf16], accuracies: Vec<Vec<f64>>, costs: Vec<f64>) -> Model {
        assert_eq!(base.len(), shape.base_weights(), "a weight for each parameter");
        assert_eq!(drafts.len(), shape.drafts_weights(), "a weight for each parameter");
        let part = |of: &[bf16], range: Range<usize>| of[range].to_vec();
        Model::of(
            shape,
            |range| part(base, range),
            |range| part(drafts, range),
            accuracies,
            costs,
        )
    }

    /// Matrix by matrix, so that there is never a second copy of all of it.
    fn of(
        shape: Shape,
        base: impl Fn(Range<usize>) -> Vec<bf16>,
        drafts: impl Fn(Range<usize>) -> Vec<bf16>,
        accuracies: Vec<Vec<f64>>,
        costs: Vec<f64>,
    ) -> Model {
        let turns = (0..Shape::CONTEXT + MOST_ROWS)
            .flat_map(|position| (0..Shape::HEAD_WIDTH / 2).map(move |pair| rotation(position, pair)))
            .map(|(cos, sin)| (cos as f32, sin as f32))
            .collect();
        Model {
            shape,
            embed: base(shape.embed()),
            layers: (0..shape.layers)
                .map(|layer| {
                    let at = shape.layer(layer);
                    Layer {
                        qkv: Packed::new(&base(at.qkv), shape.width),
                        out: Packed::new(&base(at.out), shape.width),
                        up: Packed::new(&base(at.up), shape.width),
                        down: Packed::new(&base(at.down), shape.inner),
                    }
                })
                .collect(),
            unembed: Packed::new(&base(shape.unembed()), shape.width),
            drafts: (0..shape.drafts)
                .map(|draft| {
                    let at = shape.draft(draft);
                    Draft {
                        mix: Packed::new(&drafts(at.mix), shape.width),
                        unembed: Packed::new(&drafts(at.unembed), shape.width),
                    }
                })
                .collect(),
            accuracies,
            costs,
            turns,
        }
    }

    /// The model of the repository, read when it is first asked for and then shared for good.
    pub fn shipped() -> &'static Model {
        static SHIPPED: OnceLock<Model> = OnceLock::new();
        SHIPPED.get_or_init(|| {
            Model::read(include_bytes!("model.bin")).unwrap_or_else(|why| unreachable!("medusa/model.bin: {why}"))
        })
    }

    /// From a checkpoint.
    pub fn read(bytes: &[u8]) -> Result<Model, BadCheckpoint> {
        let short = |needed| BadCheckpoint {
            held: bytes.len(),
            needed,
        };
        let (words, _) = bytes.as_chunks::<4>();
        let sizes: [usize; SIZES] = words
            .first_chunk()
            .ok_or(short(4 * SIZES))?
            .map(|word| u32::from_le_bytes(word) as usize);
        let [width, layers, inner, drafts, ranks] = sizes;
        // No size of a real model is near this; it keeps the products below from overflowing.
        if sizes.iter().any(|size| *size > 1 << 12) {
            return Err(short(usize::MAX));
        }
        let shape = Shape {
            width,
            layers,
            inner,
            drafts,
        };
        let figures = SIZES..SIZES + drafts * ranks + COSTS;
        let weights = shape.base_weights() + shape.drafts_weights();
        let needed = 4 * figures.end + 2 * weights;
        if bytes.len() != needed {
            return Err(short(needed));
        }
        let figures: Vec<f64> = words[figures.clone()]
            .iter()
            .map(|word| f64::from(f32::from_le_bytes(*word)))
            .collect();
        let (accuracies, costs) = figures.split_at(drafts * ranks);
        let (halves, _) = bytes[needed - 2 * weights..].as_chunks::<2>();
        let (base, heads) = halves.split_at(shape.base_weights());
        let weights =
            |halves: &[[u8; 2]]| -> Vec<bf16> { halves.iter().map(|half| bf16::from_le_bytes(*half)).collect() };
        Ok(Model::of(
            shape,
            |range| weights(&base[range]),
            |range| weights(&heads[range]),
            accuracies.chunks_exact(ranks.max(1)).map(<[f64]>::to_vec).collect(),
            costs.to_vec(),
        ))
    }

    /// As a checkpoint.
    pub fn write(&self) -> Vec<u8> {
        let ranks = self.accuracies.first().map_or(0, Vec::len);
        let Shape {
            width,
            layers,
            inner,
            drafts,
        } = self.shape;
        let mut bytes: Vec<u8> = [width, layers, inner, drafts, ranks]
            .iter()
            .flat_map(|size| (*size as u32).to_le_bytes())
            .collect();
        for figure in self.accuracies.iter().flatten().chain(&self.costs) {
            bytes.extend((*figure as f32).to_le_bytes());
        }
        for weight in self
            .embed
            .iter()
            .copied()
            .chain(self.matrices().flat_map(Packed::unpacked))
        {
            bytes.extend(weight.to_le_bytes());
        }
        bytes
    }

    /// The tree of so many nodes that keeps most tokens by the measured accuracies.
    pub fn tree(&self, nodes: usize) -> Tree {
        Tree::of_best(&self.accuracies, nodes)
    }

    /// How many nodes decode fastest, by the measured accuracies and costs.
    pub fn best_size(&self) -> usize {
        best_size(&self.accuracies, &self.costs)
    }

    /// Bytes of the model in the repository, before it is read.
    pub fn standard_bytes() -> u64 {
        let shape = Shape::STANDARD;
        let weights = 2 * (shape.base_weights() + shape.drafts_weights());
        let turns = 8 * (Shape::CONTEXT + MOST_ROWS) * Shape::HEAD_WIDTH / 2;
        (weights + turns + 8 * (shape.drafts * RANKS + COSTS) + 4096) as u64
    }
}

const _: () = assert!(VOCABULARY <= 256, "a token is a byte");
