//! `/proc/locks`: the locks of files, and who waits behind which.
//!
//! Source: Documentation/filesystems/locks.rst and `lock_get_status` in fs/locks.c. A lock's line is followed by
//! those that wait for it, with an arrow and the same number. The pid is that of the process that asked, in
//! the namespace of this `/proc`; a lock of an open file description (`OFDLCK`) has -1. Locks of
//! processes that this namespace does not hold are left out by the kernel.

use std::fs;
use std::io;

use super::ProcRoot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `fcntl` by process.
    Posix,
    /// `fcntl` by open file description.
    OpenFile,
    Flock,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLock {
    /// Of the lock that is held; those who wait for it have the same.
    pub number: u64,
    pub waits: bool,
    pub kind: Kind,
    pub write: bool,
    /// `None` for a lock that belongs to no process.
    pub process: Option<u32>,
    pub inode: u64,
}

/// `12: -> POSIX  ADVISORY  WRITE 708 fe:01:42 0 EOF`. `None`: a lease, or no such line.
pub fn parse_line(line: &str) -> Option<FileLock> {
    let (number, rest) = line.split_once(':')?;
    let mut words = rest.split_ascii_whitespace();
    let mut kind = words.next()?;
    let waits = kind == "->";
    if waits {
        kind = words.next()?;
    }
    let kind = match kind {
        "POSIX" => Kind::Posix,
        "OFDLCK" => Kind::OpenFile,
        "FLOCK" => Kind::Flock,
        _ => return None,
    };
    let write = match words.nth(1)? {
        "WRITE" | "RW" => true,
        "READ" => false,
        _ => return None,
    };
    let process = words.next()?.parse::<i64>().ok()?;
    let inode = words.next()?.rsplit(':').next()?.parse().ok()?;
    Some(FileLock {
        number: number.trim().parse().ok()?,
        waits,
        kind,
        write,
        process: u32::try_from(process).ok().filter(|process| *process > 0),
        inode,
    })
}

pub fn read(root: &ProcRoot) -> io::Result<Vec<FileLock>> {
    let text = fs::read_to_string(root.path().join("locks"))?;
    Ok(text.lines().filter_map(parse_line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lock_and_those_behind_it() {
        let held = FileLock {
            number: 3,
            waits: false,
            kind: Kind::Posix,
            write: true,
            process: Some(708),
            inode: 42,
        };
        assert_eq!(parse_line("3: POSIX  ADVISORY  WRITE 708 fe:01:42 0 EOF"), Some(held));
        let waiting = FileLock {
            waits: true,
            write: false,
            process: Some(9),
            ..held
        };
        assert_eq!(parse_line("3: -> POSIX  ADVISORY  READ 9 fe:01:42 0 7"), Some(waiting));
        let deeper = parse_line("3:      -> FLOCK  ADVISORY  READ  9 fe:01:42 0 EOF").unwrap();
        assert_eq!((deeper.kind, deeper.waits), (Kind::Flock, true));
        let open_file = parse_line("4: OFDLCK ADVISORY  WRITE -1 00:2a:5 0 EOF").unwrap();
        assert_eq!((open_file.kind, open_file.process), (Kind::OpenFile, None));
    }

    #[test]
    fn what_is_no_lock_of_a_file_is_passed_over() {
        for line in [
            "",
            "1:",
            "1: LEASE  ACTIVE    READ  5 fe:01:42 0 EOF",
            "x: POSIX  ADVISORY  WRITE 708 fe:01:42 0 EOF",
            "1: POSIX  ADVISORY  WRITE",
            "1: POSIX  ADVISORY  NONE 1 fe:01:42 0 EOF",
            "1: POSIX  ADVISORY  WRITE 1 fe:01:x 0 EOF",
        ] {
            assert_eq!(parse_line(line), None, "{line:?}");
        }
    }

    #[test]
    fn our_own_lock_is_listed() {
        let file = tempfile::tempfile().unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let inode = rustix::fs::fstat(&file).unwrap().st_ino;
        let locks = read(&ProcRoot::live()).unwrap();
        let ours = locks.iter().find(|lock| lock.inode == inode).unwrap();
        assert_eq!((ours.kind, ours.write, ours.waits), (Kind::Flock, true, false));
        assert_eq!(ours.process, Some(std::process::id()));
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in ".{0,80}") {
            let _ = parse_line(&line);
            let _ = parse_line(&format!("1: POSIX ADVISORY {line}"));
        }
    }
}
