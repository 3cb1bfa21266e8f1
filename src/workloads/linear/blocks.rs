//! How a product is cut into blocks that fit the caches, and blocks into tiles that fit registers.
//!
//! After Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008), with one
//! change: a band of `a` is packed for the second-level cache, and each panel of `b` is packed just
//! before the band's tiles use it, while it is hot in the first. So the buffers stay the same
//! however wide `b` is.
//!
//! The inner length is cut by itself alone, never by the shape of the rest or the threads that take
//! part, so an element of the result is the same bits wherever it lies and whoever computes it.

use std::cell::RefCell;

use super::Element;

/// A product over raw memory: `multiply` has checked that every index lies inside.
pub struct Block<T: Element> {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub a: *const T,
    pub a_row_stride: usize,
    pub a_column_stride: usize,
    pub b: *const T,
    pub b_row_stride: usize,
    pub b_column_stride: usize,
    pub c: *mut T::Sum,
    pub c_row_stride: usize,
    pub alpha: T::Sum,
    pub beta: T::Sum,
}

// SAFETY: `a` and `b` are only read, and blocks that run at the same time have disjoint elements of
// `c`: `split` is the only maker of several from one.
unsafe impl<T: Element> Send for Block<T> {}

impl<T: Element> Clone for Block<T> {
    fn clone(&self) -> Block<T> {
        Block { ..*self }
    }
}

/// A tile to compute: `rows` x `columns`, at most as large as the kernel's.
pub struct Tile<P, S> {
    pub rows: usize,
    pub columns: usize,
    /// In packed elements.
    pub depth: usize,
    pub a: *const P,
    pub a_step: usize,
    pub b: *const P,
    pub b_step: usize,
    pub c: *mut S,
    pub c_row_stride: usize,
    pub alpha: S,
    pub beta: S,
}

/// Lanes to pack: lane l at depth d is `from[l * lane_stride + d * depth_stride]`.
pub struct Lanes<T> {
    pub from: *const T,
    pub lane_stride: usize,
    pub depth_stride: usize,
    pub lanes: usize,
    pub depth: usize,
}

/// How tiles of one stored type are packed and multiplied with one set of instructions.
pub trait Kernel {
    type Stored: Element;
    /// What lies in a packed panel: a value, or several of one lane side by side.
    type Packed: Copy + Default + 'static;

    /// Rows and columns of a tile.
    const ROWS: usize;
    const COLUMNS: usize;
    /// Values in a packed element.
    const VALUES: usize;
    /// The most of the inner length that is taken at once, in values.
    const DEPTH: usize;
    /// Rows of a packed band; a multiple of `ROWS`.
    const BAND: usize;
    /// Panels of `b` need no packing when its rows are dense.
    const IN_PLACE: bool;

    /// Packs lanes side by side: lane l at packed depth d goes to `into[d * width + l]`. Lanes up to
    /// `width` and values up to a whole packed element become zero. May write up to [`SLACK`] packed
    /// elements beyond the panel.
    ///
    /// # Safety
    ///
    /// All of `lanes` can be read, and the panel with the slack behind it be written. The machine has
    /// the kernel's instructions.
    unsafe fn pack(lanes: &Lanes<Self::Stored>, into: *mut Self::Packed, width: usize);

    /// c = alpha a b + beta c over a tile; `beta` 0 writes over whatever `c` held.
    ///
    /// # Safety
    ///
    /// `a` can be read at `depth` steps of `ROWS` lanes, `b` at `depth` steps of `COLUMNS` lanes, and
    /// the tile's part of `c` be written. The machine has the kernel's instructions.
    unsafe fn tile(tile: &Tile<Self::Packed, <Self::Stored as Element>::Sum>);
}

/// What packing may write beyond a panel, in packed elements.
pub const SLACK: usize = 32;

/// With so many rows of tiles or fewer, packing a panel of `b` costs more than it saves.
const IN_PLACE_ROWS: usize = 2;

/// How much of the inner length is taken at once: equal parts, each a multiple of 8.
fn part_of<K: Kernel>(depth: usize) -> usize {
    let parts = depth.div_ceil(K::DEPTH).max(1);
    depth.div_ceil(parts).next_multiple_of(8)
}

/// Packed elements in the buffers of one thread, for a product of this shape.
pub fn buffer_length<K: Kernel>(rows: usize, depth: usize) -> usize {
    let part = part_of::<K>(depth).div_ceil(K::VALUES);
    part * (rows.next_multiple_of(K::ROWS).min(K::BAND) + K::COLUMNS) + 2 * SLACK
}

/// Computes a block on this thread.
///
/// # Safety
///
/// The block's pointers and strides describe memory that is there and not written by others, and
/// the machine has the kernel's instructions.
pub unsafe fn compute<K: Kernel>(block: &Block<K::Stored>) {
    with_buffer::<K::Packed, _>(buffer_length::<K>(block.rows, block.depth), |buffer| {
        // SAFETY: as the caller promised; the buffer has the length the block needs.
        unsafe { compute_in::<K>(block, buffer) }
    });
}

unsafe fn compute_in<K: Kernel>(block: &Block<K::Stored>, buffer: *mut K::Packed) {
    let part = part_of::<K>(block.depth);
    // Before the band of `a`, the buffer holds a panel of `b` and its slack.
    let band_at = buffer.wrapping_add(part.div_ceil(K::VALUES) * K::COLUMNS + SLACK);
    let one = <<K::Stored as Element>::Sum as super::Real>::of(1.0);
    let mut band = 0;
    while band < block.rows {
        let band_rows = (block.rows - band).min(K::BAND);
        let in_place = K::IN_PLACE && block.b_column_stride == 1 && band_rows <= IN_PLACE_ROWS * K::ROWS;
        let mut at = 0;
        // Once also for an inner length of 0: `c` is scaled then.
        loop {
            let depth = (block.depth - at).min(part);
            let steps = depth.div_ceil(K::VALUES);
            let beta = if at == 0 { block.beta } else { one };
            for row in (0..band_rows).step_by(K::ROWS) {
                let lanes = Lanes {
                    from: block
                        .a
                        .wrapping_add((band + row) * block.a_row_stride + at * block.a_column_stride),
                    lane_stride: block.a_row_stride,
                    depth_stride: block.a_column_stride,
                    lanes: (band_rows - row).min(K::ROWS),
                    depth,
                };
                // SAFETY: the lanes are inside `a`; the band's buffer has room for its panels and the slack.
                unsafe { K::pack(&lanes, band_at.wrapping_add(row * steps), K::ROWS) };
            }
            for column in (0..block.columns).step_by(K::COLUMNS) {
                let columns = (block.columns - column).min(K::COLUMNS);
                let from = block
                    .b
                    .wrapping_add(at * block.b_row_stride + column * block.b_column_stride);
                let (b, b_step) = if in_place && columns == K::COLUMNS {
                    (from.cast::<K::Packed>(), block.b_row_stride)
                } else {
                    let lanes = Lanes {
                        from,
                        lane_stride: block.b_column_stride,
                        depth_stride: block.b_row_stride,
                        lanes: columns,
                        depth,
                    };
                    // SAFETY: the lanes are inside `b`; the buffer begins with room for a panel and the slack.
                    unsafe { K::pack(&lanes, buffer, K::COLUMNS) };
                    (buffer.cast_const(), K::COLUMNS)
                };
                for row in (0..band_rows).step_by(K::ROWS) {
                    let tile = Tile {
                        rows: (band_rows - row).min(K::ROWS),
                        columns,
                        depth: steps,
                        a: band_at.wrapping_add(row * steps).cast_const(),
                        a_step: K::ROWS,
                        b,
                        b_step,
                        c: block.c.wrapping_add((band + row) * block.c_row_stride + column),
                        c_row_stride: block.c_row_stride,
                        alpha: block.alpha,
                        beta,
                    };
                    // SAFETY: both panels are packed for `steps`, and the tile lies inside `c`.
                    unsafe { K::tile(&tile) };
                }
            }
            at += depth;
            if at >= block.depth {
                break;
            }
        }
        band += band_rows;
    }
}

/// Packs one value at a time: for the levels and strides that nothing better is written for.
///
/// # Safety
///
/// As for [`Kernel::pack`], with one value a packed element.
#[inline(always)]
pub unsafe fn pack_plainly<T: Copy, P: Copy + Default>(
    lanes: &Lanes<T>,
    into: *mut P,
    width: usize,
    convert: impl Fn(T) -> P,
) {
    if lanes.lane_stride == 1 {
        for depth in 0..lanes.depth {
            for lane in 0..lanes.lanes {
                // SAFETY: a lane at a depth that there is.
                let value = unsafe { lanes.from.wrapping_add(depth * lanes.depth_stride + lane).read() };
                // SAFETY: inside the panel.
                unsafe { into.wrapping_add(depth * width + lane).write(convert(value)) };
            }
        }
    } else {
        for lane in 0..lanes.lanes {
            for depth in 0..lanes.depth {
                // SAFETY: a lane at a depth that there is.
                let value = unsafe {
                    lanes
                        .from
                        .wrapping_add(depth * lanes.depth_stride + lane * lanes.lane_stride)
                        .read()
                };
                // SAFETY: inside the panel.
                unsafe { into.wrapping_add(depth * width + lane).write(convert(value)) };
            }
        }
    }
    if lanes.lanes < width {
        for depth in 0..lanes.depth {
            for lane in lanes.lanes..width {
                // SAFETY: inside the panel.
                unsafe { into.wrapping_add(depth * width + lane).write(P::default()) };
            }
        }
    }
}

/// Lends `length` packed elements, aligned to a cache line, from a buffer that the thread keeps: it
/// only grows, up to [`buffer_length`] of the largest product.
fn with_buffer<P: Copy + 'static, R>(length: usize, work: impl FnOnce(*mut P) -> R) -> R {
    #[derive(Clone, Copy)]
    #[repr(C, align(64))]
    struct Line([u8; 64]);
    thread_local! {
        static BUFFER: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    }
    let lines = (length * size_of::<P>()).div_ceil(size_of::<Line>());
    // Nothing forks while the buffer is lent, so no other product of this thread asks for it.
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < lines {
            // The old one goes first: there is never more than one.
            *buffer = Vec::new();
            *buffer = vec![Line([0; 64]); lines];
        }
        work(buffer.as_mut_ptr().cast())
    })
}
