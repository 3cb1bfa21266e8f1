//! The rows of all ranks, reachable from several threads at once.

use std::marker::PhantomData;
use std::ops::Range;

use super::failure::Failure;

/// Rows of one length, borrowed mutably for `'a`. Who may touch which elements when is the
/// caller's to arrange.
pub(super) struct Rows<'a, T> {
    starts: Vec<*mut T>,
    elements: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointers are only followed in `shared` and `exclusive`, whose callers promise that
// no two threads do so to the same elements, unless both read; `T` itself may cross threads.
unsafe impl<T: Send + Sync> Sync for Rows<'_, T> {}

impl<'a, T> Rows<'a, T> {
    pub(super) fn new(rows: &'a mut [&mut [T]]) -> Result<Rows<'a, T>, Failure> {
        let elements = rows.first().map_or(0, |row| row.len());
        if let Some(rank) = rows.iter().position(|row| row.len() != elements) {
            return Err(Failure::Ragged {
                rank,
                brings: rows[rank].len(),
                first: elements,
            });
        }
        Ok(Rows {
            starts: rows.iter_mut().map(|row| row.as_mut_ptr()).collect(),
            elements,
            borrowed: PhantomData,
        })
    }

    pub(super) fn ranks(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn elements(&self) -> usize {
        self.elements
    }

    /// # Safety
    /// While the slice lives, nothing writes to these elements of this row.
    pub(super) unsafe fn shared(&self, rank: usize, range: Range<usize>) -> &[T] {
        let length = self.checked(&range);
        // SAFETY: within the row, which is as long as `elements`.
        let start = unsafe { self.starts[rank].add(range.start) };
        // SAFETY: the row is borrowed for longer than `self` lives; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(start, length) }
    }

    /// # Safety
    /// While the slice lives, nothing else reads or writes these elements of this row.
    #[allow(clippy::mut_from_ref)] // As with a cell: the caller promises what the compiler can't see.
    pub(super) unsafe fn exclusive(&self, rank: usize, range: Range<usize>) -> &mut [T] {
        let length = self.checked(&range);
        // SAFETY: within the row, which is as long as `elements`.
        let start = unsafe { self.starts[rank].add(range.start) };
        // SAFETY: the row is borrowed mutably for longer than `self` lives; the caller keeps all
        // others away.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }

    fn checked(&self, range: &Range<usize>) -> usize {
        assert!(
            range.start <= range.end && range.end <= self.elements,
            "{range:?} is out of a row of {}",
            self.elements
        );
        range.len()
    }
}
