//! `/proc/<pid>/statm`: the size of a process and how much of it is in memory, in pages.
//!
//! Source: Documentation/filesystems/proc.rst and `proc_pid_statm` in fs/proc/array.c. Readable by
//! everybody. `size` is exact: the sum of all mappings but the gate page (`[vsyscall]`). `resident`
//! is a counter that each CPU batches for itself, so it may be some dozens of pages off the truth
//! that `smaps_rollup` finds by walking the page tables. A kernel thread and a zombie have zeros.

use std::io::Read;
use std::path::Path;

use super::ProcRoot;
use super::maps::{number, open, refusal};
use crate::model::{Evidence, Unknown};

/// In pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statm {
    pub size: u64,
    pub resident: u64,
    /// Resident pages of files and of shared memory.
    pub shared: u64,
}

/// Reads `statm` of `folder` (a process' folder or a thread's).
pub fn read(root: &ProcRoot, folder: &Path) -> Evidence<Statm> {
    let mut text = Vec::with_capacity(128);
    open(root, &folder.join("statm"))?
        .take(1024)
        .read_to_end(&mut text)
        .map_err(|error| refusal(root, &error))?;
    parse(&text).ok_or(Unknown::Unreadable)
}

/// `size resident shared text lib data dt`, in pages; `lib` and `dt` are always 0.
pub fn parse(text: &[u8]) -> Option<Statm> {
    let mut words = text
        .trim_ascii_end()
        .split(|byte| *byte == b' ')
        .map(|word| number(word, 10));
    let mut next = || words.next()?;
    let statm = Statm {
        size: next()?,
        resident: next()?,
        shared: next()?,
    };
    // A line that was cut within a number would be a wrong number, not a missing one.
    (words.count() == 4).then_some(statm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_numbers_are_taken() {
        let statm = parse(b"41048 3428 1657 1 0 6222 0\n").unwrap();
        assert_eq!((statm.size, statm.resident, statm.shared), (41048, 3428, 1657));
    }

    #[test]
    fn a_cut_line_is_refused() {
        for text in [
            "",
            "1",
            "1 2 3",
            "1 2 3 4 5 6",
            "1 2 x 4 5 6 7",
            "1 2 -3 4 5 6 7",
            "1 2 3 4 5 6 7 8",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn we_are_resident_in_less_than_our_size() {
        let root = ProcRoot::live();
        let statm = read(&root, &root.path().join("self")).unwrap();
        assert!(statm.resident > 0 && statm.resident < statm.size);
    }
}
