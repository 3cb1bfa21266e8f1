//! Transposed convolution: every input pixel adds the kernel, weighted, to the output.
//!
//! Output pixel `o` of an axis with stride s, padding p and dilation d gets input pixel `i` through
//! kernel place `k` where `i s = o + p - k d`. With `o + p = q s + r` those are the `k` with `k d = r` modulo s,
//! and `i = q - (k d - r) / s`: for each of the s phases `r` an ordinary convolution with few kernel places
//! and no zeros in between. So no multiplication is wasted on stuffed zeros, and nothing like the
//! columns of a matrix product is ever stored.
//!
//! A piece of work is a block of `q` rows. It packs the input rows it needs, with the zeros beyond the
//! edges, so that every kernel place reads 16 neighbouring pixels from anywhere. A tile of up to
//! eight output channels by 48 pixels stays in registers while all input channels and kernel
//! places go by; then the phases are laid side by side into the output row. Each sum goes over
//! kernel rows, then input channels, then kernel columns, whatever thread does it, and the bias comes last.

use super::fresh::zeros;
use super::images::Shape;
use super::level::Level;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::{BadInput, Join};

/// The parameters of PyTorch's `conv_transpose2d`, pairs as height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transposition {
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub output_padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
}

impl Default for Transposition {
    fn default() -> Transposition {
        Transposition {
            stride: [1; 2],
            padding: [0; 2],
            output_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        }
    }
}

/// A kernel's lengths: `[inputs][outputs of a group][height][width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelShape {
    pub inputs: usize,
    pub outputs: usize,
    pub height: usize,
    pub width: usize,
}

impl KernelShape {
    pub fn count(&self) -> usize {
        [self.outputs, self.height, self.width]
            .into_iter()
            .fold(self.inputs, usize::saturating_mul)
    }
}

/// The shape of the output: `(n - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1` on each side.
pub fn transposed(input: Shape, kernel: KernelShape, how: &Transposition) -> Result<Shape, BadInput> {
    let refuse = |field: &str, why: String| Err(BadInput::new(field, why));
    for (field, pair) in [
        ("stride", how.stride),
        ("dilation", how.dilation),
        ("groups", [how.groups; 2]),
    ] {
        if pair.contains(&0) {
            return refuse(field, "holds 0; give at least 1".to_owned());
        }
    }
    if input.height == 0 || input.width == 0 || input.channels == 0 {
        return refuse(
            "input",
            format!(
                "has {} channels of {} x {} pixels; give at least one of each",
                input.channels, input.height, input.width
            ),
        );
    }
    if kernel.count() == 0 {
        return refuse(
            "weight",
            format!(
                "has the lengths {}, {}, {}, {}; give at least 1 each",
                kernel.inputs, kernel.outputs, kernel.height, kernel.width
            ),
        );
    }
    if kernel.inputs != input.channels {
        return refuse(
            "weight",
            format!(
                "is for {} input channels, but the input has {}; its shape is [input channels, output channels / groups, height, width]",
                kernel.inputs, input.channels
            ),
        );
    }
    if !kernel.inputs.is_multiple_of(how.groups) {
        return refuse(
            "groups",
            format!(
                "is {}, and {} input channels are not divisible by it",
                how.groups, kernel.inputs
            ),
        );
    }
    let mut sides = [0; 2];
    for axis in 0..2 {
        let (stride, dilation, extra) = (how.stride[axis], how.dilation[axis], how.output_padding[axis]);
        if extra >= stride && extra >= dilation {
            return refuse(
                "output_padding",
                format!("is {extra}; it must be smaller than the stride, {stride}, or the dilation, {dilation}"),
            );
        }
        let (length, kernel) = ([input.height, input.width][axis], [kernel.height, kernel.width][axis]);
        let whole = (length - 1)
            .checked_mul(stride)
            .and_then(|steps| steps.checked_add(dilation.checked_mul(kernel - 1)?))
            .and_then(|end| end.checked_add(extra)?.checked_add(1))
            .zip(how.padding[axis].checked_mul(2));
        sides[axis] = match whole {
            Some((whole, cut)) if cut < whole => whole - cut,
            Some((whole, cut)) => {
                return refuse(
                    "padding",
                    format!(
                        "is {}: it cuts {cut} pixels from {whole}; leave at least one",
                        how.padding[axis]
                    ),
                );
            }
            None => {
                return refuse(
                    "stride",
                    format!("is {stride}: with it the output's side does not fit 64 bits; give a smaller one"),
                );
            }
        };
    }
    Ok(Shape {
        images: input.images,
        channels: kernel.outputs.saturating_mul(how.groups),
        height: sides[0],
        width: sides[1],
    })
}

/// Output channels that a tile computes together.
const TILE: usize = 8;
/// Packed input of this many bytes stays in the second-level cache beside the weights.
const PACKED_BYTES: usize = 512 * 1024;
/// Pixels of the widest tile, and what a packed row is longer than it must be.
const WIDEST: usize = 96;
/// A column block is a multiple of this.
const BLOCK: usize = 48;

/// One axis of the geometry.
#[derive(Clone, Copy, Debug)]
struct Side {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Side {
    /// The kernel places of a phase, and how far before `q` each reads.
    fn places(self, phase: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.kernel)
            .map(move |place| (place, place * self.dilation))
            .filter(move |(_, far)| far % self.stride == phase)
            .map(move |(place, far)| (place, far / self.stride))
    }

    /// The farthest that any place reads before its `q`.
    fn before(self) -> usize {
        (self.kernel - 1) * self.dilation / self.stride
    }

    /// The first and the end of all `q`.
    fn whole(self) -> (usize, usize) {
        (
            self.padding / self.stride,
            (self.output + self.padding).div_ceil(self.stride),
        )
    }
}

/// What one phase of rows and one of columns does for one tile of output channels.
#[derive(Debug, Default)]
struct Phase {
    /// Where each step reads in the packed input, from the tile's first pixel.
    offsets: Vec<u32>,
    /// For each step the weights of the tile's channels.
    weights: Vec<f32>,
}

/// A tile of output channels.
#[derive(Debug)]
struct Tile {
    /// The first channel, counted over all groups.
    channel: usize,
    /// How many there are,
    count: usize,
    /// and how many are computed: 1, 4 or 8.
    lanes: usize,
    /// By row phase, then column phase.
    phases: Vec<Phase>,
}

/// A transposed convolution with its weights packed, for inputs of one shape.
#[derive(Debug)]
pub struct TransposedConvolution {
    input: Shape,
    output: Shape,
    rows: Side,
    columns: Side,
    groups: usize,
    bias: Vec<f32>,
    /// Of each group.
    tiles: Vec<Vec<Tile>>,
    /// How many `q` of columns and of rows are packed together.
    columns_at_once: usize,
    rows_at_once: usize,
    level: Level,
}

/// How a piece is cut: `q` columns and rows packed at once.
fn block(rows: Side, columns: Side, channels: usize) -> (usize, usize) {
    let bytes = |columns_at_once: usize, rows_at_once: usize| {
        rows.before()
            .saturating_add(rows_at_once)
            .saturating_mul(channels)
            .saturating_mul(packed_width(columns_at_once, columns))
            .saturating_mul(size_of::<f32>())
    };
    let (first, end) = columns.whole();
    let mut across = (end - first).max(1).next_multiple_of(BLOCK);
    while across > BLOCK && bytes(across, 1) > PACKED_BYTES {
        across = (across / 2).next_multiple_of(BLOCK);
    }
    let (first, end) = rows.whole();
    let mut down = (end - first).clamp(1, 16);
    while down > 1 && bytes(across, down) > PACKED_BYTES {
        down -= 1;
    }
    (across, down)
}

/// Floats of a packed row.
fn packed_width(columns_at_once: usize, columns: Side) -> usize {
    columns.before().saturating_add(columns_at_once + WIDEST)
}

/// A side's geometry. A single pixel has no step to the next, so that whatever stride was given does
/// not count.
fn side(input: usize, output: usize, kernel: usize, how: &Transposition, axis: usize) -> Side {
    Side {
        input,
        output,
        kernel,
        stride: if input == 1 { 1 } else { how.stride[axis] },
        padding: how.padding[axis],
        dilation: how.dilation[axis],
    }
}

fn sides(input: Shape, output: Shape, kernel: KernelShape, how: &Transposition) -> (Side, Side) {
    (
        side(input.height, output.height, kernel.height, how, 0),
        side(input.width, output.width, kernel.width, how, 1),
    )
}

/// Bytes that a [`TransposedConvolution`] of these shapes takes, and those of each thread that applies
/// it. Saturating; made before anything else is.
pub(super) fn bytes(input: Shape, kernel: KernelShape, how: &Transposition) -> Result<(u64, u64), BadInput> {
    let output = transposed(input, kernel, how)?;
    let (rows, columns) = sides(input, output, kernel, how);
    let product = |factors: &[usize]| {
        factors
            .iter()
            .fold(1u64, |all, factor| all.saturating_mul(*factor as u64))
    };
    let channels = input.channels / how.groups;
    let tiles = kernel.outputs.div_ceil(TILE);
    let steps = product(&[channels, kernel.height, kernel.width]);
    let lanes = match kernel.outputs {
        1 => 1,
        2..=4 => 4,
        _ => TILE,
    };
    let weights = product(&[how.groups, tiles])
        .saturating_mul(steps)
        .saturating_mul(4 + 4 * lanes as u64);
    let phases = product(&[how.groups, tiles, rows.stride, columns.stride, size_of::<Phase>()]);
    let (across, down) = block(rows, columns, channels);
    let packed = product(&[
        rows.before().saturating_add(down),
        channels,
        packed_width(across, columns),
        4,
    ]);
    let laid = product(&[columns.stride, TILE, across + WIDEST, 4]);
    // The output's rows are dealt to pieces, twice when a piece's list had to grow.
    let (first, end) = rows.whole();
    let blocks = (end - first).div_ceil(down);
    let dealt = product(&[output.images, output.channels, blocks, down, rows.stride, 16]).saturating_add(product(&[
        output.images,
        how.groups,
        blocks,
        size_of::<Piece<'_>>(),
    ]));
    Ok((
        weights
            .saturating_add(phases)
            .saturating_add(dealt)
            .saturating_add(4 * output.channels as u64),
        packed.saturating_add(laid),
    ))
}

impl TransposedConvolution {
    /// Checks the shapes and packs the weights. `bias` holds one value for each output channel.
    pub fn new(
        input: Shape,
        kernel: KernelShape,
        weight: &[f32],
        bias: Option<&[f32]>,
        how: &Transposition,
    ) -> Result<TransposedConvolution, BadInput> {
        TransposedConvolution::with_level(input, kernel, weight, bias, how, Level::best())
    }

    pub(super) fn with_level(
        input: Shape,
        kernel: KernelShape,
        weight: &[f32],
        bias: Option<&[f32]>,
        how: &Transposition,
        level: Level,
    ) -> Result<TransposedConvolution, BadInput> {
        let output = transposed(input, kernel, how)?;
        assert_eq!(weight.len(), kernel.count(), "the weights have another shape");
        if let Some(bias) = bias
            && bias.len() != output.channels
        {
            return Err(BadInput::new(
                "bias",
                format!(
                    "holds {} values; give one for each of the {} output channels",
                    bias.len(),
                    output.channels
                ),
            ));
        }
        let (rows, columns) = sides(input, output, kernel, how);
        let channels = input.channels / how.groups;
        let (columns_at_once, rows_at_once) = block(rows, columns, channels);
        let width = packed_width(columns_at_once, columns);
        let packed = (rows.before().saturating_add(rows_at_once))
            .saturating_mul(channels)
            .saturating_mul(width);
        if u32::try_from(packed).is_err() {
            return Err(BadInput::new(
                "dilation",
                "makes the kernel reach too far: the input of one row of output must fit 2^32 values",
            ));
        }
        let mut convolution = TransposedConvolution {
            input,
            output,
            rows,
            columns,
            groups: how.groups,
            bias: bias.map_or_else(|| vec![0.0; output.channels], <[f32]>::to_vec),
            tiles: Vec::new(),
            columns_at_once,
            rows_at_once,
            level,
        };
        convolution.tiles = (0..how.groups)
            .map(|group| {
                (0..kernel.outputs)
                    .step_by(TILE)
                    .map(|first| convolution.tile(group, first, kernel, weight))
                    .collect()
            })
            .collect();
        Ok(convolution)
    }

    /// The tile of the channels of `group` from `first` on.
    fn tile(&self, group: usize, first: usize, kernel: KernelShape, weight: &[f32]) -> Tile {
        let count = (kernel.outputs - first).min(TILE);
        let lanes = match count {
            1 => 1,
            2..=4 => 4,
            _ => TILE,
        };
        let channels = self.input.channels / self.groups;
        let width = packed_width(self.columns_at_once, self.columns);
        let mut phases = Vec::with_capacity(self.rows.stride * self.columns.stride);
        for row_phase in 0..self.rows.stride {
            for column_phase in 0..self.columns.stride {
                let steps = channels * self.rows.places(row_phase).count() * self.columns.places(column_phase).count();
                let mut phase = Phase {
                    offsets: Vec::with_capacity(steps),
                    weights: Vec::with_capacity(steps * lanes),
                };
                for (ky, up) in self.rows.places(row_phase) {
                    for channel in 0..channels {
                        for (kx, left) in self.columns.places(column_phase) {
                            let row = (self.rows.before() - up) * channels + channel;
                            phase.offsets.push((row * width + self.columns.before() - left) as u32);
                            let input = group * channels + channel;
                            for lane in 0..lanes {
                                let at =
                                    ((input * kernel.outputs + first + lane) * kernel.height + ky) * kernel.width + kx;
                                phase.weights.push(if lane < count { weight[at] } else { 0.0 });
                            }
                        }
                    }
                }
                phases.push(phase);
            }
        }
        Tile {
            channel: group * kernel.outputs + first,
            count,
            lanes,
            phases,
        }
    }

    pub fn output(&self) -> Shape {
        self.output
    }

    /// Panics when the lengths are not those of the shapes: that is the caller's mistake.
    pub fn apply_into(&self, join: &dyn Join, input: &[f32], output: &mut [f32]) {
        assert_eq!(input.len(), self.input.count(), "the input has another shape");
        assert_eq!(output.len(), self.output.count(), "the output has another shape");
        if output.is_empty() {
            return;
        }
        let mut pieces = self.pieces(output);
        let grain = if join.width() > 1 {
            pieces.len().div_ceil(4 * join.width())
        } else {
            pieces.len()
        };
        self.do_pieces(join, input, &mut pieces, grain.max(1));
    }

    /// As [`TransposedConvolution::apply_into`], into new memory.
    pub fn apply(&self, join: &dyn Join, input: &[f32]) -> Vec<f32> {
        let mut output = zeros(self.output.count());
        self.apply_into(join, input, &mut output);
        output
    }

    /// The output dealt to pieces: for each image, group and block of `q` rows its rows.
    fn pieces<'a>(&self, output: &'a mut [f32]) -> Vec<Piece<'a>> {
        let (first, end) = self.rows.whole();
        let blocks = (end - first).div_ceil(self.rows_at_once);
        let channels = self.output.channels / self.groups;
        let mut pieces: Vec<Piece<'a>> = (0..self.output.images * self.groups * blocks)
            .map(|number| {
                let q = first + number % blocks * self.rows_at_once;
                Piece {
                    image: number / blocks / self.groups,
                    group: number / blocks % self.groups,
                    q: q..(q + self.rows_at_once).min(end),
                    rows: Vec::with_capacity(channels * self.rows_at_once * self.rows.stride),
                }
            })
            .collect();
        // Rows come channel by channel and downwards, so that a piece has them in this order too.
        for (number, row) in output.chunks_exact_mut(self.output.width).enumerate() {
            let (plane, y) = (number / self.output.height, number % self.output.height);
            let (image, channel) = (plane / self.output.channels, plane % self.output.channels);
            let block = ((y + self.rows.padding) / self.rows.stride - first) / self.rows_at_once;
            pieces[(image * self.groups + channel / channels) * blocks + block]
                .rows
                .push(row);
        }
        pieces
    }

    fn do_pieces(&self, join: &dyn Join, input: &[f32], pieces: &mut [Piece<'_>], grain: usize) {
        if pieces.len() > grain {
            let (low, high) = pieces.split_at_mut(pieces.len() / 2);
            join.join(
                || self.do_pieces(join, input, low, grain),
                || self.do_pieces(join, input, high, grain),
            );
            return;
        }
        let channels = self.input.channels / self.groups;
        let width = packed_width(self.columns_at_once, self.columns);
        let mut packed = vec![0.0; (self.rows_at_once + self.rows.before()) * channels * width];
        let mut phases = vec![0.0; self.columns.stride * TILE * self.phase_row()];
        for piece in pieces {
            self.do_piece(input, piece, &mut packed, &mut phases);
        }
    }

    /// Floats of a row of one phase before it is laid into the output.
    fn phase_row(&self) -> usize {
        self.columns_at_once + WIDEST
    }

    fn do_piece(&self, input: &[f32], piece: &mut Piece<'_>, packed: &mut [f32], phases: &mut [f32]) {
        let (first, end) = self.columns.whole();
        let mut across = first;
        while across < end {
            let count = (end - across).min(self.columns_at_once);
            self.pack(input, piece, across, count, packed);
            self.make(piece, across, count, packed, phases);
            across += count;
        }
    }

    /// Copies what the piece's rows read for the `count` columns `q` from `across` on; zeros beyond the edges.
    fn pack(&self, input: &[f32], piece: &Piece<'_>, across: usize, count: usize, packed: &mut [f32]) {
        let channels = self.input.channels / self.groups;
        let width = packed_width(self.columns_at_once, self.columns);
        let (above, left) = (self.rows.before(), self.columns.before());
        // The columns across - left up to across + count, those that exist.
        let from = across.saturating_sub(left).min(self.columns.input);
        let to = (across + count).min(self.columns.input);
        let place = from + left - across.min(from + left);
        for (number, row) in packed.chunks_exact_mut(channels * width).enumerate() {
            let y = (piece.q.start + number).checked_sub(above);
            let y = y.filter(|y| *y < self.rows.input && number < piece.q.len() + above);
            for (channel, into) in row.chunks_exact_mut(width).enumerate() {
                let Some(y) = y else {
                    into.fill(0.0);
                    continue;
                };
                let plane = piece.image * self.input.channels + piece.group * channels + channel;
                let source = &input[(plane * self.input.height + y) * self.input.width..][from..to.max(from)];
                into[..place].fill(0.0);
                into[place..place + source.len()].copy_from_slice(source);
                into[place + source.len()..].fill(0.0);
            }
        }
    }

    /// Computes the piece's rows for the columns that are packed.
    fn make(&self, piece: &mut Piece<'_>, across: usize, count: usize, packed: &[f32], phases: &mut [f32]) {
        let channels = self.input.channels / self.groups;
        let width = packed_width(self.columns_at_once, self.columns);
        let rows_of_channel = piece.rows.len() / (self.output.channels / self.groups);
        let row = self.phase_row();
        // The piece's first output row: its `q` and phase may begin within the padding.
        let top = (piece.q.start * self.rows.stride).max(self.rows.padding);
        for tile in &self.tiles[piece.group] {
            for number in 0..rows_of_channel {
                let (q, row_phase) = ((top + number) / self.rows.stride, (top + number) % self.rows.stride);
                let from = (q - piece.q.start) * channels * width;
                for column_phase in 0..self.columns.stride {
                    let phase = &tile.phases[row_phase * self.columns.stride + column_phase];
                    let into = &mut phases[column_phase * TILE * row..][..tile.lanes * row];
                    run(self.level, tile.lanes, phase, &packed[from..], count, into, row);
                }
                for lane in 0..tile.count {
                    let channel = tile.channel + lane;
                    let within = channel % (self.output.channels / self.groups);
                    let into = &mut piece.rows[within * rows_of_channel + number];
                    let lane = &phases[lane * row..];
                    self.lay(lane, TILE * row, across, count, self.bias[channel], into);
                }
            }
        }
    }

    /// Lays the phases of `count` columns `q` from `across` on side by side into an output row. The phases'
    /// rows are `apart` floats from each other.
    fn lay(&self, phases: &[f32], apart: usize, across: usize, count: usize, bias: f32, into: &mut [f32]) {
        let (stride, padding) = (self.columns.stride, self.columns.padding);
        // The columns whose phases are all within the output go the quick way.
        let inner = across.max(padding.div_ceil(stride));
        let inner_end = (across + count).min((into.len() + padding) / stride).max(inner);
        let pixels = |first: usize, end: usize| first * stride - padding..end * stride - padding;
        match stride {
            _ if inner >= inner_end => {}
            1 => {
                let from = &phases[inner - across..];
                for (into, value) in into[pixels(inner, inner_end)].iter_mut().zip(from) {
                    *into = value + bias;
                }
            }
            2 => {
                let pairs = into[pixels(inner, inner_end)].as_chunks_mut::<2>().0;
                let (even, odd) = (&phases[inner - across..], &phases[apart + inner - across..]);
                for (into, (even, odd)) in pairs.iter_mut().zip(even.iter().zip(odd)) {
                    *into = [even + bias, odd + bias];
                }
            }
            _ => {
                for phase in 0..stride {
                    let from = &phases[phase * apart + inner - across..];
                    let into = into[pixels(inner, inner_end)][phase..].iter_mut().step_by(stride);
                    for (into, value) in into.zip(from) {
                        *into = value + bias;
                    }
                }
            }
        }
        for q in (across..inner.min(across + count)).chain(inner_end.max(across)..across + count) {
            for phase in 0..stride {
                let at = (q * stride + phase).checked_sub(padding);
                if let Some(into) = at.and_then(|at| into.get_mut(at)) {
                    *into = phases[phase * apart + q - across] + bias;
                }
            }
        }
    }
}

/// A block of output rows of one image and one group.
struct Piece<'a> {
    image: usize,
    group: usize,
    q: std::ops::Range<usize>,
    /// Channel by channel, downwards.
    rows: Vec<&'a mut [f32]>,
}

/// The sums of a tile's phase for `count` columns, `lanes` rows of `row` floats in `into`. What lies
/// behind the columns is written with whatever the packed zeros give.
fn run(level: Level, lanes: usize, phase: &Phase, packed: &[f32], count: usize, into: &mut [f32], row: usize) {
    let (offsets, weights) = (&phase.offsets[..], &phase.weights[..]);
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says that the processor has AVX2 and FMA.
        Level::Avx2 => unsafe { avx2::convolve(lanes, offsets, weights, packed, count, into, row) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says that the processor has AVX-512.
        Level::Avx512 => unsafe { avx512::convolve(lanes, offsets, weights, packed, count, into, row) },
        _ => convolve_plain(lanes, offsets, weights, packed, count, into, row),
    }
}

fn convolve_plain(
    lanes: usize,
    offsets: &[u32],
    weights: &[f32],
    packed: &[f32],
    count: usize,
    into: &mut [f32],
    row: usize,
) {
    for (lane, into) in into.chunks_exact_mut(row).enumerate() {
        let into = &mut into[..count];
        into.fill(0.0);
        for (offset, weights) in offsets.iter().zip(weights.chunks_exact(lanes)) {
            let source = &packed[*offset as usize..][..count];
            for (into, value) in into.iter_mut().zip(source) {
                *into += weights[lane] * value;
            }
        }
    }
}
