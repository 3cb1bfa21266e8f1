//! Where queries, keys and values lie in memory, and which keys a query may see.

/// Rows of `head_dim` values for every place of every head of every batch item: the row of (b, h, i)
/// starts at `data[b * batch_stride + h * head_stride + i * row_stride]` and has no gaps.
///
/// The strides let a cache with spare room, or tokens whose heads lie side by side, be read in place.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a, T> {
    pub data: &'a [T],
    pub batch: usize,
    pub heads: usize,
    pub length: usize,
    pub head_dim: usize,
    pub batch_stride: usize,
    pub head_stride: usize,
    pub row_stride: usize,
}

/// [`Heads`] to write to. No two rows may overlap.
#[derive(Debug)]
pub struct HeadsMut<'a, T> {
    pub data: &'a mut [T],
    pub batch: usize,
    pub heads: usize,
    pub length: usize,
    pub head_dim: usize,
    pub batch_stride: usize,
    pub head_stride: usize,
    pub row_stride: usize,
}

impl<'a, T> Heads<'a, T> {
    /// `[batch][heads][length][head_dim]` without gaps.
    pub fn dense(data: &'a [T], batch: usize, heads: usize, length: usize, head_dim: usize) -> Heads<'a, T> {
        Heads {
            data,
            batch,
            heads,
            length,
            head_dim,
            batch_stride: heads * length * head_dim,
            head_stride: length * head_dim,
            row_stride: head_dim,
        }
    }

    /// `[batch][length][heads][head_dim]` without gaps: a token's heads side by side.
    pub fn side_by_side(data: &'a [T], batch: usize, length: usize, heads: usize, head_dim: usize) -> Heads<'a, T> {
        Heads {
            data,
            batch,
            heads,
            length,
            head_dim,
            batch_stride: heads * length * head_dim,
            head_stride: head_dim,
            row_stride: heads * head_dim,
        }
    }

    pub fn row(&self, batch: usize, head: usize, at: usize) -> &'a [T] {
        &self.data[batch * self.batch_stride + head * self.head_stride + at * self.row_stride..][..self.head_dim]
    }

    /// Panics when a row would lie outside the data.
    pub(super) fn check(&self, what: &str) {
        let dims = [
            (self.batch, self.batch_stride),
            (self.heads, self.head_stride),
            (self.length, self.row_stride),
        ];
        check_extent(what, &dims, self.head_dim, self.data.len());
    }
}

impl<'a, T> HeadsMut<'a, T> {
    /// `[batch][heads][length][head_dim]` without gaps.
    pub fn dense(data: &'a mut [T], batch: usize, heads: usize, length: usize, head_dim: usize) -> HeadsMut<'a, T> {
        HeadsMut {
            data,
            batch,
            heads,
            length,
            head_dim,
            batch_stride: heads * length * head_dim,
            head_stride: length * head_dim,
            row_stride: head_dim,
        }
    }

    /// `[batch][length][heads][head_dim]` without gaps: a token's heads side by side.
    pub fn side_by_side(
        data: &'a mut [T],
        batch: usize,
        length: usize,
        heads: usize,
        head_dim: usize,
    ) -> HeadsMut<'a, T> {
        HeadsMut {
            data,
            batch,
            heads,
            length,
            head_dim,
            batch_stride: heads * length * head_dim,
            head_stride: head_dim,
            row_stride: heads * head_dim,
        }
    }

    /// Panics when rows would overlap or lie outside the data. After it, rows may be handed out to
    /// different threads.
    pub(super) fn places(self, what: &str) -> Places<'a, T> {
        let mut dims = [
            (self.batch, self.batch_stride),
            (self.heads, self.head_stride),
            (self.length, self.row_stride),
        ];
        check_extent(what, &dims, self.head_dim, self.data.len());
        dims.sort_by_key(|(_, stride)| *stride);
        let mut extent = self.head_dim;
        let any = dims.iter().all(|(count, _)| *count > 0);
        for (count, stride) in dims {
            if any && count > 1 {
                assert!(
                    stride >= extent,
                    "{what}: rows overlap; give strides that keep them apart"
                );
                extent += (count - 1) * stride;
            }
        }
        Places {
            start: self.data.as_mut_ptr(),
            batch_stride: self.batch_stride,
            head_stride: self.head_stride,
            row_stride: self.row_stride,
            head_dim: self.head_dim,
            data: std::marker::PhantomData,
        }
    }
}

fn check_extent(what: &str, dims: &[(usize, usize); 3], head_dim: usize, held: usize) {
    if dims.iter().any(|(count, _)| *count == 0) {
        return;
    }
    let needed = dims
        .iter()
        .try_fold(head_dim, |sum, (count, stride)| {
            sum.checked_add((count - 1).checked_mul(*stride)?)
        })
        .unwrap_or(usize::MAX);
    assert!(
        needed <= held,
        "{what} holds {held} values; its shape and strides need {needed}"
    );
}

/// Rows to write to from several threads, each row from one: bounds and overlap have been checked.
pub(super) struct Places<'a, T> {
    start: *mut T,
    batch_stride: usize,
    head_stride: usize,
    row_stride: usize,
    pub(super) head_dim: usize,
    data: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for an exclusive borrow of plain values; who shares it must hand every row to
// one thread only, which `row` asks of its caller.
unsafe impl<T: Send> Sync for Places<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Places<'_, T> {}

impl<T> Places<'_, T> {
    /// Where a row starts.
    ///
    /// # Safety
    /// The indices are in range.
    pub(super) unsafe fn at(&self, batch: usize, head: usize, at: usize) -> *mut T {
        let offset = batch * self.batch_stride + head * self.head_stride + at * self.row_stride;
        // SAFETY: the constructor checked that every row lies in the data.
        unsafe { self.start.add(offset) }
    }

    /// # Safety
    /// The indices are in range, and nobody else holds this row meanwhile.
    #[expect(
        clippy::mut_from_ref,
        reason = "rows are disjoint; the caller keeps to one holder a row"
    )]
    pub(super) unsafe fn row(&self, batch: usize, head: usize, at: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        let first = unsafe { self.at(batch, head, at) };
        // SAFETY: the row lies in the data, and the caller holds the row alone.
        unsafe { std::slice::from_raw_parts_mut(first, self.head_dim) }
    }
}

/// Which keys a query sees. Numbers of queries and keys may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask<'a> {
    /// All.
    Full,
    /// Key j if j <= i.
    TopLeft,
    /// Key j if j <= i + keys - queries: the last query sees the last key.
    BottomRight,
    /// Key j if i - w < j <= i.
    Window(usize),
    /// Key j if j < prefix, or if bit j - prefix of `ancestors[i]` is set: drafts of a tree behind a
    /// common text, at most 64.
    Tree { prefix: usize, ancestors: &'a [u64] },
}

/// The keys that one query sees: `from..to`, and from `prefix` on only those whose bit is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visible {
    pub from: usize,
    pub to: usize,
    pub prefix: usize,
    pub bits: u64,
}

impl Visible {
    pub fn sees(&self, key: usize) -> bool {
        (self.from..self.to).contains(&key)
            && (key < self.prefix || (key - self.prefix < 64 && self.bits >> (key - self.prefix) & 1 == 1))
    }

    /// Whether it sees none at all.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Those of `from..to` that it sees, in order.
    pub fn keys(self, from: usize, to: usize) -> impl Iterator<Item = usize> {
        (self.from.max(from)..self.to.min(to)).filter(move |key| self.sees(*key))
    }
}

impl Mask<'_> {
    /// What query `i` of `queries` sees of `keys`, of which only the first `kv_len` are valid.
    pub(super) fn visible(&self, i: usize, queries: usize, keys: usize, kv_len: usize) -> Visible {
        let (mut from, mut to) = (0, keys);
        let (mut prefix, mut bits) = (usize::MAX, 0);
        match *self {
            Mask::Full => {}
            Mask::TopLeft => to = i + 1,
            Mask::BottomRight => to = (i + keys + 1).saturating_sub(queries),
            Mask::Window(width) => {
                from = (i + 1).saturating_sub(width);
                to = i + 1;
            }
            Mask::Tree {
                prefix: before,
                ancestors,
            } => {
                let valid = kv_len.min(keys).saturating_sub(before);
                prefix = before;
                bits = ancestors[i] & if valid < 64 { (1 << valid) - 1 } else { u64::MAX };
                to = before.saturating_add(64 - bits.leading_zeros() as usize);
            }
        }
        to = to.min(keys).min(kv_len);
        Visible {
            from: from.min(to),
            to,
            prefix,
            bits,
        }
    }
}
