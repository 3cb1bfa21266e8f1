//! Resizing by interpolation: [`Interpolation`] is made once for two sizes and a mode, and then
//! applied to any number of images.
//!
//! Output rows are made one after the other. The source rows that one needs are spread to the
//! output's width first, each once: a ring keeps as many of them as one output row reads. Then
//! they are weighed into the output row. So the source is read once, the output written once, and
//! what lies between stays in the nearest cache. An output row depends on nothing but its source
//! rows, and so the result is the same however the rows were dealt to threads.

use super::axis::{self, Ask, Axis, Mode};
use super::fresh::zeros;
use super::level::Level;
use super::rows::{Pixel, SLACK, Spreader};
use super::split::for_each_run;
use crate::{BadInput, Join};

/// What the output's size is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Height and width.
    Size(usize, usize),
    /// Factors of height and width. Sizes are rounded down. Coordinates follow from the factors,
    /// or, `recomputed`, from the sizes.
    Factor { height: f64, width: f64, recomputed: bool },
}

/// How an image is to be resized; the names and rules of PyTorch's `interpolate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resize {
    pub mode: Mode,
    pub target: Target,
    /// The centres of the corner pixels stay where they are. Not for the nearest modes.
    pub align_corners: bool,
    /// Shrinking reads every source pixel. Not for the nearest modes.
    pub antialias: bool,
}

/// The largest height or width, so that places fit 32 bits.
pub const LARGEST_SIDE: usize = 1 << 24;

/// Outputs of fewer bytes than this stay in the cache for whoever reads them next.
const STREAMED_BYTES: usize = 24 << 20;

/// A resizing of images from one size to another.
#[derive(Debug)]
pub struct Interpolation<P: Pixel> {
    source: (usize, usize),
    vertical: Axis<P::Weight>,
    spreader: Spreader<P::Weight>,
    /// Rows the ring holds.
    held: usize,
    level: Level,
}

/// The two axes of a resizing of an image of `source` height and width.
fn asks(source: (usize, usize), resize: &Resize) -> Result<[Ask; 2], BadInput> {
    let (sizes, factors) = match resize.target {
        Target::Size(height, width) => ([height, width], [None, None]),
        Target::Factor {
            height,
            width,
            recomputed,
        } => {
            let floor = |size: usize, factor: f64| {
                let product = size as f64 * factor;
                if product.is_nan() || product >= (LARGEST_SIDE + 1) as f64 {
                    return Err(BadInput::new(
                        "scale_factor",
                        format!(
                            "{factor:?} makes a side of {size} pixels {product:?}; the largest side is {LARGEST_SIDE}"
                        ),
                    ));
                }
                // A negative one becomes 0, which is refused below.
                Ok(product as usize)
            };
            let given = |factor: f64| (!recomputed).then_some(factor);
            (
                [floor(source.0, height)?, floor(source.1, width)?],
                [given(height), given(width)],
            )
        }
    };
    let field = match resize.target {
        Target::Size(..) => "size",
        Target::Factor { .. } => "scale_factor",
    };
    for side in [source.0, source.1, sizes[0], sizes[1]] {
        if side == 0 || side > LARGEST_SIDE {
            return Err(BadInput::new(
                field,
                format!(
                    "gives an output of {} x {} for an input of {} x {} (height x width); give sides from 1 to {LARGEST_SIDE}",
                    sizes[0], sizes[1], source.0, source.1
                ),
            ));
        }
    }
    let nearest = matches!(resize.mode, Mode::Nearest | Mode::NearestExact);
    if nearest && resize.align_corners {
        return Err(BadInput::new(
            "align_corners",
            format!(
                "can be set for bilinear and bicubic only; leave it out for {}",
                resize.mode.name()
            ),
        ));
    }
    if nearest && resize.antialias {
        return Err(BadInput::new(
            "antialias",
            format!(
                "is for bilinear and bicubic only; leave it out for {}",
                resize.mode.name()
            ),
        ));
    }
    let ask = |axis: usize, input: usize| Ask {
        mode: resize.mode,
        input,
        output: sizes[axis],
        scale_factor: factors[axis],
        align_corners: resize.align_corners,
        antialias: resize.antialias,
        small: sizes[0] + sizes[1] <= axis::SMALL,
    };
    Ok([ask(0, source.0), ask(1, source.1)])
}

/// Height and width of what an image of `source` height and width becomes.
pub fn resized(source: (usize, usize), resize: &Resize) -> Result<(usize, usize), BadInput> {
    let [vertical, horizontal] = asks(source, resize)?;
    Ok((vertical.output, horizontal.output))
}

/// The bytes that an [`Interpolation`] of these sizes takes, at most: its tables.
pub(super) fn table_bytes<P: Pixel>(source: (usize, usize), resize: &Resize) -> Result<u64, BadInput> {
    let weight = size_of::<P::Weight>();
    let [vertical, horizontal] = asks(source, resize)?;
    let (down, across) = (axis::bytes_of(&vertical, weight), axis::bytes_of(&horizontal, weight));
    // Before the u8 rule rounds them weights are f64; the tables of the kernels repeat the axis, in
    // whole blocks.
    Ok(down * 3 + across * 4 + 4096)
}

impl<P: Pixel> Interpolation<P> {
    /// Makes the tables for images of `source` height and width.
    pub fn new(source: (usize, usize), resize: &Resize) -> Result<Interpolation<P>, BadInput> {
        Interpolation::with_level(source, resize, Level::best())
    }

    pub(super) fn with_level(
        source: (usize, usize),
        resize: &Resize,
        level: Level,
    ) -> Result<Interpolation<P>, BadInput> {
        let [vertical, horizontal] = asks(source, resize)?;
        let vertical = P::axis(&vertical);
        Ok(Interpolation {
            source,
            held: vertical.reach(),
            vertical,
            spreader: P::spreader(&P::axis(&horizontal), level),
            level,
        })
    }

    /// Height and width of the output.
    pub fn output(&self) -> (usize, usize) {
        (self.vertical.output, self.spreader.axis.output)
    }

    /// The pixels of a spread row with its slack.
    fn stride(&self) -> usize {
        self.output().1.next_multiple_of(SLACK) + SLACK
    }

    /// Resizes as many planes (images times channels) as `input` holds.
    ///
    /// Panics when the lengths are not those of equally many planes: that is the caller's mistake.
    pub fn apply_into(&self, join: &dyn Join, input: &[P], output: &mut [P]) {
        let (height, width) = self.output();
        let plane = self.source.0 * self.source.1;
        assert_eq!(input.len() % plane, 0, "the input is not made of planes");
        assert_eq!(
            output.len(),
            input.len() / plane * height * width,
            "the output has another size"
        );
        let stream = size_of_val(output) >= STREAMED_BYTES && self.level == Level::Avx512;
        for_each_run(join, output, width, &|first, rows| {
            self.make_rows(input, first, rows, stream);
        });
    }

    /// As [`Interpolation::apply_into`], into new memory.
    pub fn apply(&self, join: &dyn Join, input: &[P]) -> Vec<P> {
        let (height, width) = self.output();
        let planes = input.len() / (self.source.0 * self.source.1);
        let mut output = zeros(planes * height * width);
        self.apply_into(join, input, &mut output);
        output
    }

    /// Makes the output rows from number `first` on, counted over all planes.
    fn make_rows(&self, input: &[P], first: usize, rows: &mut [P], stream: bool) {
        let (height, width) = self.output();
        let stride = self.stride();
        let mut ring = vec![P::default(); self.held * stride];
        // Which source row, counted over all planes, each place of the ring holds.
        let mut holds = vec![usize::MAX; self.held];
        for (number, into) in rows.chunks_exact_mut(width).enumerate() {
            let (plane, y) = ((first + number) / height, (first + number) % height);
            let (index, weight) = self.vertical.at(y);
            for source in index {
                let source = plane * self.source.0 + *source as usize;
                // The rows of one output are neighbours and never more than the ring's length.
                let place = source % self.held;
                if holds[place] != source {
                    holds[place] = source;
                    P::spread(
                        &self.spreader,
                        &input[source * self.source.1..][..self.source.1],
                        &mut ring[place * stride..][..stride],
                    );
                }
            }
            let row = |source: u32| {
                let place = (plane * self.source.0 + source as usize) % self.held;
                &ring[place * stride..][..stride]
            };
            let precision = self.vertical.precision;
            match *index {
                [a] => P::combine(self.level, &[row(a)], weight, precision, into, stream),
                [a, b] => P::combine(self.level, &[row(a), row(b)], weight, precision, into, stream),
                [a, b, c, d] => {
                    let rows = [row(a), row(b), row(c), row(d)];
                    P::combine(self.level, &rows, weight, precision, into, stream);
                }
                _ => {
                    let rows: Vec<&[P]> = index.iter().map(|source| row(*source)).collect();
                    P::combine(self.level, &rows, weight, precision, into, stream);
                }
            }
        }
        #[cfg(target_arch = "x86_64")]
        if stream {
            super::avx512::settle();
        }
    }
}
