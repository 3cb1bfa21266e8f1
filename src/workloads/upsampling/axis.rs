//! One axis of an interpolation: which source coordinates an output coordinate reads, and with
//! which weights. PyTorch's formulas, in the arithmetic it uses: f32 for images of f32, f64 for u8.
//!
//! With `scale` source pixels to an output pixel, output `i` lies at `scale * i` when the corners
//! are aligned (`scale = (n - 1) / (m - 1)`), otherwise at `scale * (i + 1/2) - 1/2` (`scale = n / m`,
//! or 1 / `scale_factor` where that was given and is not to be recomputed). Bilinear takes the two
//! neighbours of that point, bicubic the four, by Keys' kernel with a = -0.75; coordinates beyond
//! the edge are those of the edge. With antialiasing a filter wider by `scale` is laid over the
//! source when it shrinks (a = -0.5 there, as Pillow has it), cut off at the edges and normalised.
//!
//! **u8.** Weights are whole multiples of 2^-p, with the largest p up to 22 that lets the axis'
//! greatest weight fit 16 bits: `w` becomes `trunc(w * 2^p + 1/2)`, with `- 1/2` when it is negative. A pass
//! gives `clamp((2^(p-1) + sum of weight * value) >> p, 0, 255)`: to the nearest, halves upwards. Rows
//! are done first, then columns, with u8 between; a pass that would keep the size is left out. That is
//! PyTorch's rule, and to the bit.

/// How values between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The pixel at `floor(scale * i)`.
    Nearest,
    /// The pixel whose centre is nearest.
    NearestExact,
    Bilinear,
    Bicubic,
}

impl Mode {
    /// As PyTorch calls it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Nearest => "nearest",
            Mode::NearestExact => "nearest-exact",
            Mode::Bilinear => "bilinear",
            Mode::Bicubic => "bicubic",
        }
    }

    /// Source coordinates that one output coordinate reads when nothing is shrunk.
    fn taps(self) -> usize {
        match self {
            Mode::Nearest | Mode::NearestExact => 1,
            Mode::Bilinear => 2,
            Mode::Bicubic => 4,
        }
    }
}

/// What one axis is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub mode: Mode,
    pub input: usize,
    pub output: usize,
    /// The scale factor whose inverse gives the coordinates, instead of the ratio of the sizes.
    pub scale_factor: Option<f64>,
    pub align_corners: bool,
    pub antialias: bool,
    /// Height and width of the output are [`SMALL`] together at most.
    pub small: bool,
}

/// Up to this sum of height and width PyTorch takes its kernel for small outputs.
pub(super) const SMALL: usize = 128;

/// For each output coordinate its source coordinates and weights, `taps` apart.
#[derive(Clone, Debug)]
pub(super) struct Axis<W> {
    pub input: usize,
    pub output: usize,
    pub taps: usize,
    /// Source coordinates, all within the input; `output * taps` of them.
    pub index: Vec<u32>,
    pub weight: Vec<W>,
    /// How many of an output's taps count. All of them, except when antialiasing.
    pub count: Vec<u32>,
    /// p of the u8 rule; 0 for f32.
    pub precision: u32,
}

impl<W> Axis<W> {
    /// The index, weight and count of one output coordinate.
    pub fn at(&self, output: usize) -> (&[u32], &[W]) {
        let range = output * self.taps..output * self.taps + self.count[output] as usize;
        (&self.index[range.clone()], &self.weight[range])
    }

    /// Whether all outputs have all taps.
    pub fn even(&self) -> bool {
        self.count.iter().all(|count| *count as usize == self.taps)
    }

    /// The most source coordinates that lie between the first and the last tap of one output.
    pub fn reach(&self) -> usize {
        (0..self.output)
            .map(|output| {
                let (index, _) = self.at(output);
                let least = index.iter().min().copied().unwrap_or(0);
                let most = index.iter().max().copied().unwrap_or(0);
                (most - least) as usize + 1
            })
            .max()
            .unwrap_or(1)
    }
}

/// How many bytes the tables of an axis take, at most.
pub(super) fn bytes_of(ask: &Ask, weight: usize) -> u64 {
    let taps = if ask.antialias {
        let support = support(ask.mode, scale::<f64>(ask));
        2 * support.ceil() as u64 + 2
    } else {
        ask.mode.taps() as u64
    };
    ask.output as u64 * (taps * (4 + weight as u64) + 4)
}

/// f32 or f64: what coordinates and weights are computed in.
pub(super) trait Arithmetic:
    Copy
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
{
    fn of(value: f64) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn abs(self) -> Self;
    fn to_i64(self) -> i64;
    /// self * factor + more, rounded once.
    fn fused(self, factor: Self, more: Self) -> Self;
}

macro_rules! arithmetic {
    ($real:ident) => {
        impl Arithmetic for $real {
            fn of(value: f64) -> $real {
                value as $real
            }
            fn floor(self) -> $real {
                $real::floor(self)
            }
            fn ceil(self) -> $real {
                $real::ceil(self)
            }
            fn abs(self) -> $real {
                $real::abs(self)
            }
            fn to_i64(self) -> i64 {
                self as i64
            }
            fn fused(self, factor: $real, more: $real) -> $real {
                self.mul_add(factor, more)
            }
        }
    };
}

arithmetic!(f32);
arithmetic!(f64);

/// Source pixels to an output pixel.
fn scale<R: Arithmetic>(ask: &Ask) -> R {
    let real = |size: usize| R::of(size as f64);
    if ask.align_corners {
        if ask.output > 1 {
            real(ask.input - 1) / real(ask.output - 1)
        } else {
            R::of(0.0)
        }
    } else {
        match ask.scale_factor {
            Some(factor) if factor > 0.0 => R::of(1.0 / factor),
            _ => real(ask.input) / real(ask.output),
        }
    }
}

/// The point that output `i` lies at. Only bicubic may lie before the first pixel.
fn point<R: Arithmetic>(scale: R, i: usize, align_corners: bool, cubic: bool) -> R {
    let i = R::of(i as f64);
    if align_corners {
        return scale * i;
    }
    // Fused, because that is how compilers make PyTorch's `scale * (i + 0.5f) - 0.5f`.
    let at = scale.fused(i + R::of(0.5), R::of(-0.5));
    if !cubic && at < R::of(0.0) { R::of(0.0) } else { at }
}

/// The point of bilinear in f32, whose kernel for large outputs rounds the product too: far from the
/// origin that moves a point by more than what our results may differ.
fn bilinear_point(scale: f32, i: usize, ask: &Ask) -> f32 {
    if ask.align_corners || ask.small {
        return point(scale, i, ask.align_corners, false);
    }
    let product = scale * (i as f32 + 0.5);
    (product - 0.5).max(0.0)
}

/// The pixel at or before the point, and how far behind it the point lies (0 to 1).
fn split<R: Arithmetic>(at: R, input: usize) -> (i64, R) {
    let first = at.floor().to_i64().min(input as i64 - 1);
    let rest = at - R::of(first as f64);
    let (zero, one) = (R::of(0.0), R::of(1.0));
    let rest = if rest < zero {
        zero
    } else if rest > one {
        one
    } else {
        rest
    };
    (first, rest)
}

/// Keys' kernel for |x| <= 1 and for 1 < |x| < 2.
fn cubic_near<R: Arithmetic>(x: R, a: R) -> R {
    ((a + R::of(2.0)) * x - (a + R::of(3.0))) * x * x + R::of(1.0)
}

fn cubic_far<R: Arithmetic>(x: R, a: R) -> R {
    ((a * x - R::of(5.0) * a) * x + R::of(8.0) * a) * x - R::of(4.0) * a
}

/// The kernel of a mode: 1 - |x|, or Keys' with this a.
fn kernel<R: Arithmetic>(mode: Mode, a: f64, x: R) -> R {
    let x = x.abs();
    match mode {
        Mode::Bicubic if x < R::of(1.0) => cubic_near(x, R::of(a)),
        Mode::Bicubic if x < R::of(2.0) => cubic_far(x, R::of(a)),
        Mode::Bilinear if x < R::of(1.0) => R::of(1.0) - x,
        _ => R::of(0.0),
    }
}

/// a of bicubic: OpenCV's, and Pillow's where shrinking is filtered.
const A: f64 = -0.75;
const A_ANTIALIASED: f64 = -0.5;

/// Half the filter's width in source pixels when antialiasing.
fn support<R: Arithmetic>(mode: Mode, scale: R) -> R {
    let half = R::of(mode.taps() as f64 * 0.5);
    if scale >= R::of(1.0) { half * scale } else { half }
}

/// The axis of an image of f32.
pub(super) fn of_f32(ask: &Ask) -> Axis<f32> {
    if ask.antialias {
        // PyTorch leaves an axis that keeps its size as it is when it goes axis by axis.
        return if ask.input == ask.output {
            kept(ask, 1.0)
        } else {
            antialiased(ask)
        };
    }
    let scale = scale::<f32>(ask);
    let taps = ask.mode.taps();
    let mut axis = empty(ask, taps);
    for i in 0..ask.output {
        match ask.mode {
            Mode::Nearest | Mode::NearestExact => {
                axis.index.push(nearest(ask, i));
                axis.weight.push(1.0);
            }
            // PyTorch copies an axis that keeps its size, whatever the scale factor says.
            Mode::Bilinear if ask.input == ask.output => {
                axis.index.extend([i as u32; 2]);
                axis.weight.extend([1.0, 0.0]);
            }
            Mode::Bilinear => {
                let (first, rest) = split(bilinear_point(scale, i, ask), ask.input);
                let last = (first + 1).min(ask.input as i64 - 1);
                axis.index.extend([first as u32, last as u32]);
                axis.weight.extend([1.0 - rest, rest]);
            }
            Mode::Bicubic => {
                let (first, rest) = split(point(scale, i, ask.align_corners, true), ask.input);
                let clamped = |at: i64| at.clamp(0, ask.input as i64 - 1) as u32;
                axis.index.extend((first - 1..first + 3).map(clamped));
                let a = A as f32;
                axis.weight.extend([
                    cubic_far(rest + 1.0, a),
                    cubic_near(rest, a),
                    cubic_near(1.0 - rest, a),
                    cubic_far(1.0 - rest + 1.0, a),
                ]);
            }
        }
    }
    axis
}

/// The axis of an image of u8.
pub(super) fn of_u8(ask: &Ask) -> Axis<i16> {
    if matches!(ask.mode, Mode::Nearest | Mode::NearestExact) {
        let mut axis = empty(ask, 1);
        axis.index.extend((0..ask.output).map(|i| nearest(ask, i)));
        axis.weight.resize(ask.output, 1);
        return axis;
    }
    if ask.input == ask.output {
        return kept(ask, 1);
    }
    let real = if ask.antialias {
        antialiased::<f64>(ask)
    } else {
        folded(ask)
    };
    let greatest = real.weight.iter().copied().fold(0.0, f64::max);
    let mut precision = 0;
    while precision < 22 && (0.5 + greatest * f64::from(1 << (precision + 1))) as i64 <= 0x7FFF {
        precision += 1;
    }
    let unit = f64::from(1 << precision);
    let whole = |weight: &f64| (weight * unit + if *weight < 0.0 { -0.5 } else { 0.5 }) as i16;
    Axis {
        weight: real.weight.iter().map(whole).collect(),
        input: real.input,
        output: real.output,
        taps: real.taps,
        index: real.index,
        count: real.count,
        precision,
    }
}

fn empty<W>(ask: &Ask, taps: usize) -> Axis<W> {
    Axis {
        input: ask.input,
        output: ask.output,
        taps,
        index: Vec::with_capacity(ask.output * taps),
        weight: Vec::with_capacity(ask.output * taps),
        count: vec![taps as u32; ask.output],
        precision: 0,
    }
}

/// Each output is the input at its place.
fn kept<W>(ask: &Ask, one: W) -> Axis<W>
where
    W: Clone,
{
    let mut axis = empty(ask, 1);
    axis.index.extend(0..ask.output as u32);
    axis.weight.resize(ask.output, one);
    axis
}

/// The one pixel an output takes. In f32 for both kinds of images, as PyTorch has it. PyTorch has two
/// kernels, chosen by the output's size, and where a point lies between two pixels they round
/// differently; that of small outputs also knows sizes that stay or double, whatever the scale factor.
fn nearest(ask: &Ask, i: usize) -> u32 {
    let scale = scale::<f32>(ask);
    let at = match (ask.mode, ask.small) {
        (Mode::Nearest, true) if ask.output == ask.input => i as f32,
        (Mode::Nearest, true) if ask.output == 2 * ask.input => (i / 2) as f32,
        (Mode::Nearest, _) => i as f32 * scale,
        (_, true) => ((i as f64 + 0.5) * f64::from(scale)) as f32,
        (_, false) => point(scale, i, false, false) + 0.5,
    };
    (at.floor() as i64).min(ask.input as i64 - 1) as u32
}

/// Fixed taps of which those beyond the edge have added their weight to the edge's: what the u8
/// rule rounds.
fn folded(ask: &Ask) -> Axis<f64> {
    let scale = scale::<f64>(ask);
    let taps = ask.mode.taps();
    let half = taps as i64 / 2;
    let last = ask.input as i64 - 1;
    let mut axis = empty(ask, taps);
    axis.weight.resize(ask.output * taps, 0.0);
    for (i, weights) in axis.weight.chunks_exact_mut(taps).enumerate() {
        let (at, rest) = split(point(scale, i, ask.align_corners, taps > 2), ask.input);
        let unbound = at - half + 1;
        let least = unbound.max(0);
        let size = (at + half + 1).min(ask.input as i64) - least;
        let clamped = |tap: i64| (least + tap).clamp(0, last) as u32;
        axis.index.extend((0..taps as i64).map(clamped));
        let mut into = 0;
        for tap in 0..taps as i64 {
            if unbound + tap <= 0 {
                into = 0;
            } else if unbound + tap >= last {
                into = size.max(1) as usize - 1;
            }
            weights[into] += kernel(ask.mode, A, (tap + 1 - half) as f64 - rest);
            into += 1;
        }
    }
    axis
}

/// A filter as wide as the source pixels an output stands for.
fn antialiased<R: Arithmetic>(ask: &Ask) -> Axis<R> {
    let scale = scale::<R>(ask);
    let (half, one) = (R::of(0.5), R::of(1.0));
    let support = support(ask.mode, scale);
    let taps = 2 * support.ceil().to_i64() as usize + 1;
    let shrink = if scale >= one { one / scale } else { one };
    let mut axis = empty(ask, taps);
    for i in 0..ask.output {
        let centre = scale * (R::of(i as f64) + half);
        let least = (centre - support + half).to_i64().clamp(0, ask.input as i64 - 1);
        let end = (centre + support + half).to_i64().min(ask.input as i64);
        let count = (end - least).clamp(1, taps as i64);
        let from = axis.weight.len();
        let mut total = R::of(0.0);
        for at in least..least + count {
            let weight = kernel(ask.mode, A_ANTIALIASED, (R::of(at as f64) - centre + half) * shrink);
            axis.index.push(at as u32);
            axis.weight.push(weight);
            total = total + weight;
        }
        for weight in &mut axis.weight[from..] {
            *weight = *weight / total;
        }
        axis.index.resize(from + taps, least as u32);
        axis.weight.resize(from + taps, R::of(0.0));
        axis.count[i] = count as u32;
    }
    axis
}
