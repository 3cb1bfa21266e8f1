//! The files of a thread, kept open within a budget that all readers share.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kernel::file::{self, Buffer};
use crate::model::Tid;

/// How many files all readers together may keep open; who gets none opens and closes.
#[derive(Debug)]
pub(in crate::observe) struct FileBudget {
    pub(super) left: AtomicU64,
}

impl FileBudget {
    pub(in crate::observe) fn new(files: u64) -> Arc<FileBudget> {
        Arc::new(FileBudget {
            left: AtomicU64::new(files),
        })
    }

    fn keep(self: &Arc<FileBudget>, file: OwnedFd) -> Result<KeptFile, OwnedFd> {
        // Relaxed: the number stands alone.
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match taken {
            Ok(_) => Ok(KeptFile {
                file,
                budget: Arc::clone(self),
            }),
            Err(_) => Err(file),
        }
    }
}

/// An open file that counts against the budget.
pub(super) struct KeptFile {
    file: OwnedFd,
    budget: Arc<FileBudget>,
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        self.budget.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// The files of one thread.
#[derive(Clone, Copy)]
pub(super) enum Name {
    Schedstat,
    Stat,
    Status,
    Syscall,
    Wchan,
}

impl Name {
    pub(super) const ALL: [Name; 5] = [Name::Schedstat, Name::Stat, Name::Status, Name::Syscall, Name::Wchan];
    pub(super) const COUNT: usize = Name::ALL.len();

    pub(super) fn text(self) -> &'static str {
        match self {
            Name::Schedstat => "schedstat",
            Name::Stat => "stat",
            Name::Status => "status",
            Name::Syscall => "syscall",
            Name::Wchan => "wchan",
        }
    }
}

/// What to do about files: in a small process all are kept, in a larger one only the clock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    All,
    Clock,
}

/// Opens and reads the files, and keeps them open within the budget.
pub(super) struct Texts {
    pub(super) budget: Arc<FileBudget>,
    pub(super) buffer: Buffer,
    pub(super) path: String,
    /// The directory of the thread whose files are being read one after the other.
    pub(super) thread: Option<OwnedFd>,
}

impl Texts {
    /// From here on files are opened through the directory of this thread. `None`: it has ended.
    pub(super) fn enter(&mut self, task: &OwnedFd, tid: Tid) -> io::Result<Option<()>> {
        self.path.clear();
        let _ = write!(self.path, "{tid}");
        self.thread = file::open_path_at(task, &self.path)?;
        Ok(self.thread.as_ref().map(|_| ()))
    }

    /// The text of one file, through the kept one where there is one.
    pub(super) fn read(
        &mut self,
        task: &OwnedFd,
        tid: Tid,
        files: &mut [Option<KeptFile>; Name::COUNT],
        name: Name,
        keep: Keep,
    ) -> io::Result<Option<&[u8]>> {
        let kept = &mut files[name as usize];
        if let Some(kept) = kept {
            return file::reread(kept.file.as_fd(), &mut self.buffer);
        }
        let opened = if let Some(thread) = &self.thread {
            file::open(thread, name.text())?
        } else {
            self.path.clear();
            let _ = write!(self.path, "{tid}/{}", name.text());
            file::open(task, &self.path)?
        };
        let Some(opened) = opened else {
            return Ok(None);
        };
        if keep == Keep::Clock && !matches!(name, Name::Schedstat) {
            return file::reread(opened, &mut self.buffer);
        }
        match self.budget.keep(opened) {
            Ok(opened) => file::reread(kept.insert(opened).file.as_fd(), &mut self.buffer),
            Err(opened) => file::reread(opened, &mut self.buffer),
        }
    }
}
