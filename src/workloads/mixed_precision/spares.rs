//! Working memory that outlives a step, so that steps allocate nothing.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Workspaces not in use. As many come to exist as were ever needed at once.
#[derive(Debug, Default)]
pub struct Spares<W> {
    spares: Mutex<Vec<W>>,
}

impl<W: Default> Spares<W> {
    pub fn new() -> Spares<W> {
        Spares {
            spares: Mutex::new(Vec::new()),
        }
    }

    /// A workspace as its last user left it, or a new one. It goes back when dropped.
    pub fn borrow(&self) -> Borrowed<'_, W> {
        let spare = self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Borrowed {
            spares: self,
            workspace: Some(spare.unwrap_or_default()),
        }
    }
}

/// A workspace in use.
#[derive(Debug)]
pub struct Borrowed<'s, W> {
    spares: &'s Spares<W>,
    workspace: Option<W>,
}

impl<W> Deref for Borrowed<'_, W> {
    type Target = W;

    fn deref(&self) -> &W {
        match &self.workspace {
            Some(workspace) => workspace,
            None => unreachable!("it is there until dropped"),
        }
    }
}

impl<W> DerefMut for Borrowed<'_, W> {
    fn deref_mut(&mut self) -> &mut W {
        match &mut self.workspace {
            Some(workspace) => workspace,
            None => unreachable!("it is there until dropped"),
        }
    }
}

impl<W> Drop for Borrowed<'_, W> {
    fn drop(&mut self) {
        if let Some(workspace) = self.workspace.take() {
            self.spares
                .spares
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(workspace);
        }
    }
}

/// The first `length` values of a buffer that grows as needed; what they hold is left over.
pub(super) fn room<T: Copy + Default>(buffer: &mut Vec<T>, length: usize) -> &mut [T] {
    if buffer.len() < length {
        // Exactly: what a task takes is told beforehand.
        buffer.reserve_exact(length - buffer.len());
        buffer.resize(length, T::default());
    }
    &mut buffer[..length]
}
