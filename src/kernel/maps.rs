//! `/proc/<pid>/maps`: every mapping of a process, in address order.
//!
//! Source: Documentation/filesystems/proc.rst and `show_map_vma` in fs/proc/task_mmu.c. All threads
//! of a process share one map, so it is read once for all of them. Needs ptrace access to read.
//!
//! A line is parsed in place and borrows its name: a process may have sixty thousand of them. The
//! name stays as the kernel prints it. It escapes a newline as `\012` and nothing else, so a file
//! that is really called `\012` cannot be told from one with a newline, and we do not try.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::Path;

use super::ProcRoot;
use crate::model::{Evidence, Unknown};

/// One mapping, word for word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// `rwxp`: read, write, execute, and `p` for private or `s` for shared; `-` where not.
    pub permissions: [u8; 4],
    /// Where in the file the mapping begins.
    pub offset: u64,
    pub device: (u32, u32),
    /// 0 for memory that no file stands behind.
    pub inode: u64,
    /// A path (perhaps with ` (deleted)` behind it), a bracketed name, or nothing.
    pub name: &'a [u8],
}

impl Mapping<'_> {
    pub fn size_bytes(&self) -> u64 {
        self.end - self.start
    }

    pub fn is_writable(&self) -> bool {
        self.permissions[1] == b'w'
    }

    pub fn is_executable(&self) -> bool {
        self.permissions[2] == b'x'
    }

    pub fn is_shared(&self) -> bool {
        self.permissions[3] == b's'
    }

    /// Not readable, writable or executable: a guard, or room that is only reserved.
    pub fn is_inaccessible(&self) -> bool {
        &self.permissions[..3] == b"---"
    }

    /// Private memory with no file behind it, named by `PR_SET_VMA_ANON_NAME` or not at all.
    pub fn is_anonymous(&self) -> bool {
        !self.is_shared() && self.inode == 0 && (self.name.is_empty() || self.name.starts_with(b"[anon:"))
    }
}

/// `start-end perms offset major:minor inode   name`. `None` when the line is not one.
pub fn parse_line(line: &[u8]) -> Option<Mapping<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (range, rest) = word(line)?;
    let (start, end) = range.split_at(range.iter().position(|byte| *byte == b'-')?);
    let (permissions, rest) = word(rest)?;
    let (offset, rest) = word(rest)?;
    let (device, rest) = word(rest)?;
    let (major, minor) = device.split_at(device.iter().position(|byte| *byte == b':')?);
    let (inode, rest) = word(rest)?;
    let mapping = Mapping {
        start: number(start, 16)?,
        end: number(&end[1..], 16)?,
        permissions: permissions.try_into().ok()?,
        offset: number(offset, 16)?,
        device: (
            u32::try_from(number(major, 16)?).ok()?,
            u32::try_from(number(&minor[1..], 16)?).ok()?,
        ),
        inode: number(inode, 10)?,
        // The kernel pads with spaces up to the name, and a name may end in spaces of its own.
        name: &rest[rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len())..],
    };
    (mapping.start < mapping.end).then_some(mapping)
}

/// Reads the map of `folder` (a process' folder or a thread's) and hands on each line in order.
pub fn read(root: &ProcRoot, folder: &Path, mut each: impl FnMut(&Mapping<'_>)) -> Evidence<()> {
    let mut lines = open(root, &folder.join("maps"))?;
    let mut line = Vec::with_capacity(256);
    while next_line(root, &mut lines, &mut line)? {
        each(&parse_line(&line).ok_or(Unknown::Unreadable)?);
    }
    Ok(())
}

/// Opens a memory file; what the kernel says on refusal is turned into a reason.
pub(super) fn open(root: &ProcRoot, path: &Path) -> Evidence<BufReader<File>> {
    // The kernel hands out a page or so with each read, so a larger buffer would not be filled.
    match File::open(path) {
        Ok(file) => Ok(BufReader::new(file)),
        Err(error) => Err(refusal(root, &error)),
    }
}

/// The next line with its newline, or false at the end.
pub(super) fn next_line(root: &ProcRoot, lines: &mut impl BufRead, line: &mut Vec<u8>) -> Evidence<bool> {
    line.clear();
    match lines.read_until(b'\n', line) {
        Ok(length) => Ok(length > 0),
        Err(error) => Err(refusal(root, &error)),
    }
}

/// Why a file of `/proc` that needs ptrace access could not be read.
///
/// ENOENT and ESRCH both mean that the process ended, except in a captured tree, where a missing
/// file was not captured.
pub fn refusal(root: &ProcRoot, error: &io::Error) -> Unknown {
    match (error.raw_os_error(), error.kind()) {
        (Some(libc::ESRCH), _) => Unknown::Gone,
        (_, ErrorKind::NotFound) if root.is_captured() => Unknown::NotCaptured,
        (_, ErrorKind::NotFound) => Unknown::Gone,
        // EACCES and EPERM.
        (_, ErrorKind::PermissionDenied) => Unknown::PtraceDenied,
        _ => Unknown::Unreadable,
    }
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (!word.is_empty()).then(|| (word, rest.strip_prefix(b" ").unwrap_or(rest)))
}

/// Digits only: no sign, no overflow.
pub(super) fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        sum.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_name(tail: &str, expected: &[u8]) {
        let line = format!("7f00-8f00 rw-p 00001000 fe:1f 42 {tail}\n");
        let mapping = parse_line(line.as_bytes()).unwrap();
        assert_eq!(mapping.name, expected);
        assert_eq!((mapping.start, mapping.end, mapping.offset), (0x7f00, 0x8f00, 0x1000));
        assert_eq!((mapping.device, mapping.inode), ((0xfe, 0x1f), 42));
    }

    #[test]
    fn a_name_stays_as_the_kernel_prints_it() {
        check_name("", b"");
        check_name("                 [stack]", b"[stack]");
        check_name("  /tmp/a b (deleted)", b"/tmp/a b (deleted)");
        check_name("  /tmp/two\\012lines", b"/tmp/two\\012lines");
        check_name("  [anon:my arena: 1-2 rw-p]", b"[anon:my arena: 1-2 rw-p]");
        check_name("  /tmp/ends in spaces  ", b"/tmp/ends in spaces  ");
        check_name("  /tmp/\u{202e}gnp.exe", "/tmp/\u{202e}gnp.exe".as_bytes());
    }

    #[test]
    fn a_name_need_not_be_text() {
        let mapping = parse_line(b"1000-2000 r--s 0 0:1 7     /tmp/\xff\x01").unwrap();
        assert_eq!(mapping.name, b"/tmp/\xff\x01");
        assert!(mapping.is_shared() && !mapping.is_writable() && !mapping.is_anonymous());
    }

    #[test]
    fn the_last_page_of_the_address_space_fits() {
        let line = b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
        assert_eq!(parse_line(line).unwrap().size_bytes(), 4096);
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for line in [
            "",
            "\n",
            "1000-2000",
            "1000-2000 rw-p 0 0:0",
            "2000-1000 rw-p 0 0:0 0",
            "1000-1000 rw-p 0 0:0 0",
            "1000 rw-p 0 0:0 0",
            "1000-2000 rw-ps 0 0:0 0",
            "1000-2000 rw-p 0 00 0",
            "1000-2000 rw-p 0 0:0 -1",
            "+1000-2000 rw-p 0 0:0 0",
            "1000-20000000000000000 rw-p 0 0:0 0",
            "Rss:                4 kB",
        ] {
            assert_eq!(parse_line(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn our_own_map_holds_this_function_and_this_stack() {
        let here = our_own_map_holds_this_function_and_this_stack as fn() as usize as u64;
        let local = 0u8;
        let on_stack = (&raw const local) as u64;
        let (mut code, mut stack) = (false, false);
        let root = ProcRoot::live();
        read(&root, &root.path().join("self"), |mapping| {
            let holds = |address| (mapping.start..mapping.end).contains(&address);
            code |= holds(here) && mapping.is_executable();
            stack |= holds(on_stack) && mapping.is_writable();
        })
        .unwrap();
        assert!(code && stack);
    }

    #[test]
    fn every_mapping_we_read_is_the_one_another_reader_sees() {
        // The map of a child that does nothing: our own moves under our hands. The child's moves
        // too until it has loaded its libraries, so we read before and after the other reader.
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let folder = Path::new("/proc").join(child.id().to_string());
        let ours = || {
            let mut ours = Vec::new();
            read(&ProcRoot::live(), &folder, |mapping| {
                ours.push((mapping.start, mapping.end, mapping.inode));
            })
            .map(|()| ours)
        };
        let theirs = || -> Vec<_> {
            let process = procfs::process::Process::new(child.id() as i32).unwrap();
            let maps = process.maps().unwrap();
            maps.iter()
                .map(|map| (map.address.0, map.address.1, map.inode))
                .collect()
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let (ours, theirs) = loop {
            let (before, theirs, after) = (ours(), theirs(), ours());
            if before == after || std::time::Instant::now() > deadline {
                break (after, theirs);
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ours, Ok(theirs));
    }

    #[test]
    fn a_refusal_is_told_from_an_ending() {
        let (live, tree) = (ProcRoot::live(), ProcRoot::captured("/nowhere"));
        let of = |root, code| refusal(root, &io::Error::from_raw_os_error(code));
        assert_eq!(of(&live, libc::ENOENT), Unknown::Gone);
        assert_eq!(of(&live, libc::ESRCH), Unknown::Gone);
        assert_eq!(of(&live, libc::EACCES), Unknown::PtraceDenied);
        assert_eq!(of(&live, libc::EPERM), Unknown::PtraceDenied);
        assert_eq!(of(&live, libc::EIO), Unknown::Unreadable);
        assert_eq!(of(&tree, libc::ENOENT), Unknown::NotCaptured);
    }

    proptest! {
        #[test]
        fn what_was_printed_is_read_back(
            start in 0u64..1 << 47, pages in 1u64..1 << 20, offset: u64, major: u32, minor: u32, inode: u64,
            name in "[^\n ][^\n]{0,40}",
        ) {
            let end = start + pages * 4096;
            let line = format!("{start:08x}-{end:08x} r-xp {offset:08x} {major:02x}:{minor:02x} {inode}   {name}\n");
            let expected = Mapping {
                start, end, permissions: *b"r-xp", offset, device: (major, minor), inode, name: name.as_bytes(),
            };
            prop_assert_eq!(parse_line(line.as_bytes()), Some(expected));
        }

        #[test]
        fn garbage_never_panics(line: Vec<u8>) {
            let _ = parse_line(&line);
        }
    }
}
