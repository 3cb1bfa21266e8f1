//! `/proc/<pid>/task` and `/proc` itself: which threads and which processes there are.
//!
//! Source: `proc_task_readdir` and `proc_pid_readdir` in fs/proc/base.c. Tids come in the order in
//! which the threads were started. A thread that ends while the listing is under way can hide a
//! later one from it: who is missing from one listing may still be there.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{RawDir, SeekFrom, seek};
use rustix::io::Errno;

/// Some thousand entries a call.
const LISTING_BYTES: usize = 64 * 1024;

/// The numbers among the entries of a kept directory, in its order. `None`: the process has ended.
pub fn list(dir: impl AsFd, numbers: &mut Vec<u32>) -> io::Result<Option<()>> {
    numbers.clear();
    let dir = dir.as_fd();
    seek(dir, SeekFrom::Start(0))?;
    let mut space = Vec::with_capacity(LISTING_BYTES);
    let mut entries = RawDir::new(dir, space.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => numbers.extend(parse(entry.file_name().to_bytes())),
            Err(Errno::INTR) => {}
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(()))
}

/// A pid or tid: digits alone, and never 0.
fn parse(name: &[u8]) -> Option<u32> {
    if !name.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(name)
        .ok()?
        .parse()
        .ok()
        .filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::file::open_dir;
    use std::path::Path;

    #[test]
    fn only_numbers_are_ids() {
        assert_eq!(parse(b"71"), Some(71));
        for name in [&b"."[..], b"..", b"self", b"", b"0", b"7x", b"+7", b"99999999999"] {
            assert_eq!(parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_kept_directory_can_be_listed_again() {
        let dir = open_dir(Path::new("/proc/self/task")).unwrap().unwrap();
        let me = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let mut tids = Vec::new();
        for _ in 0..2 {
            assert_eq!(list(&dir, &mut tids).unwrap(), Some(()));
            assert!(tids.contains(&me), "{tids:?} lacks {me}");
        }
    }

    #[test]
    fn the_listing_of_an_ended_process_says_so() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let dir = open_dir(Path::new(&format!("/proc/{}/task", child.id())))
            .unwrap()
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(list(&dir, &mut Vec::new()).unwrap(), None);
    }
}
