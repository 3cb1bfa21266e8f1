//! The model's sizes and where each matrix lies among its weights.
//!
//! A decoder-only transformer (Vaswani et al. 2017) in today's form: RMS normalisation before each
//! block (Zhang and Sennrich 2019, without gains: the next matrix holds them), rotary positions (Su
//! et al. 2021), a squared ReLU between the two matrices of a block (So et al. 2021), no biases.
//! Every matrix is `[outputs][inputs]`. Medusa's heads (Cai et al. 2024, equation 1) come after all
//! of it: head k is softmax(W2 (SiLU(W1 h) + h)), of the hidden state h that the base model's own
//! next token is made of.

use std::ops::Range;

use super::alphabet::VOCABULARY;

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Width of the residual stream; heads times [`Shape::HEAD_WIDTH`].
    pub width: usize,
    pub layers: usize,
    /// Between the two matrices of a block.
    pub inner: usize,
    /// Medusa's heads: head k, from 1, guesses the token k places after the base model's.
    pub drafts: usize,
}

/// Where a layer's four matrices lie.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Queries, keys and values, one below the other: `[3 width][width]`.
    pub qkv: Range<usize>,
    pub out: Range<usize>,
    pub up: Range<usize>,
    pub down: Range<usize>,
}

/// Where a Medusa head's two matrices lie, counted from the first head's first weight.
#[derive(Clone, Debug)]
pub struct Draft {
    /// W1: `[width][width]`.
    pub mix: Range<usize>,
    /// W2: `[vocabulary][width]`.
    pub unembed: Range<usize>,
}

impl Shape {
    /// The model in the repository.
    pub const STANDARD: Shape = Shape {
        width: 192,
        layers: 4,
        inner: 768,
        drafts: 5,
    };

    /// Of each attention head.
    pub const HEAD_WIDTH: usize = 32;

    /// Tokens that the model can look back on, its own included: as long as it was trained on.
    pub const CONTEXT: usize = 256;

    pub fn heads(&self) -> usize {
        self.width / Shape::HEAD_WIDTH
    }

    fn layer_weights(&self) -> usize {
        4 * self.width * self.width + 2 * self.width * self.inner
    }

    fn draft_weights(&self) -> usize {
        self.width * self.width + VOCABULARY * self.width
    }

    /// Of the base model, without Medusa's heads.
    pub fn base_weights(&self) -> usize {
        self.unembed().end
    }

    /// Of all Medusa heads.
    pub fn drafts_weights(&self) -> usize {
        self.drafts * self.draft_weights()
    }

    pub fn embed(&self) -> Range<usize> {
        0..VOCABULARY * self.width
    }

    pub fn layer(&self, layer: usize) -> Layer {
        let square = self.width * self.width;
        let qkv = self.embed().end + layer * self.layer_weights();
        let out = qkv + 3 * square;
        let up = out + square;
        let down = up + self.width * self.inner;
        Layer {
            qkv: qkv..out,
            out: out..up,
            up: up..down,
            down: down..down + self.width * self.inner,
        }
    }

    /// The base model's own head.
    pub fn unembed(&self) -> Range<usize> {
        let start = self.embed().end + self.layers * self.layer_weights();
        start..start + VOCABULARY * self.width
    }

    /// Head `draft`, from 0.
    pub fn draft(&self, draft: usize) -> Draft {
        let mix = draft * self.draft_weights();
        let unembed = mix + self.width * self.width;
        Draft {
            mix: mix..unembed,
            unembed: unembed..unembed + VOCABULARY * self.width,
        }
    }
}

/// The smallest mean square a normalisation divides by.
pub const EPSILON: f32 = 1e-5;

/// cos and sin of the angle by which dimension pair `pair` of a head is turned at `position`.
pub fn rotation(position: usize, pair: usize) -> (f64, f64) {
    let frequency = 10_000_f64.powf(-2.0 * pair as f64 / Shape::HEAD_WIDTH as f64);
    let angle = position as f64 * frequency;
    (angle.cos(), angle.sin())
}
