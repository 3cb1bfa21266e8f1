//! `/tmp/perf-PID.map`: what a compiler at run time says of the code it made.
//!
//! Source: tools/perf/Documentation/jit-interface.txt. A line is `START SIZE name`, both in
//! hexadecimal; later lines speak of code that took the place of earlier ones.
//!
//! Everyone may write to that folder, so the file counts only when it is a regular one without other
//! names, on a path without links, and belongs to the process' user or to root. It is asked only about
//! code that no file stands behind: it can lie about nothing else.

use std::sync::Arc;

use super::demangle;
use crate::kernel::status;
use crate::model::Pid;
use crate::observe::stacks::space::{Follow, Found, at};

/// A JVM with all its code writes a few megabytes.
const MOST_BYTES: u64 = 32 << 20;
const MOST_LINES: usize = 500_000;
/// How many entries before the nearest may still reach over an address.
const LOOK_BACK: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    start: u64,
    end: u64,
    /// The later line is the truer one.
    line: u32,
    /// Where its name is in the text.
    name: (u32, u32),
}

#[derive(Debug, Default)]
pub(super) struct PerfMap {
    /// By start, and in the order of lines.
    entries: Vec<Entry>,
    text: Vec<u8>,
}

/// The file of a process, by its folder of `/proc`; not yet open.
pub(super) fn find(folder: &std::path::Path, pid: Pid) -> Option<Found> {
    // The process writes the number that it knows itself by.
    let text = std::fs::read(folder.join("status")).ok()?;
    let status = status::parse(&text);
    let own = status
        .innermost_id
        .filter(|_| status.process == Some(pid.0))
        .unwrap_or(pid.0);
    let found = at(folder, format!("/tmp/perf-{own}.map").as_bytes(), Follow::Nothing)?;
    let is_theirs = found.owner() == 0 || Some(found.owner()) == status.user;
    (is_theirs && !found.has_other_names() && found.bytes() <= MOST_BYTES).then_some(found)
}

pub(super) fn read(found: &Found) -> Option<PerfMap> {
    let file = found.open().ok()?;
    Some(PerfMap::parse(file.read(0, file.bytes(), MOST_BYTES)?))
}

impl PerfMap {
    /// A line that is not one is passed over; the last may be half written.
    pub fn parse(text: Vec<u8>) -> PerfMap {
        let mut entries = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n').take(MOST_LINES) {
            let begin = at;
            at += line.len();
            if let Some((start, end, name)) = entry(line) {
                let name_at = begin + line.len() - name.len() - 1;
                entries.push(Entry {
                    start,
                    end,
                    line: entries.len() as u32,
                    name: (name_at as u32, name.len() as u32),
                });
            }
        }
        entries.sort_unstable_by_key(|entry| (entry.start, entry.line));
        entries.shrink_to_fit();
        PerfMap { entries, text }
    }

    /// Name and start of the code at an address.
    pub fn at(&self, address: u64) -> Option<(Arc<str>, u64)> {
        let after = self.entries.partition_point(|entry| entry.start <= address);
        let near = self.entries[..after].iter().rev().take(LOOK_BACK);
        let latest = near
            .filter(|entry| address < entry.end)
            .max_by_key(|entry| entry.line)?;
        let (from, length) = latest.name;
        let name = self.text.get(from as usize..(from + length) as usize)?;
        Some((demangle::plain(name), latest.start))
    }

    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.text.capacity()
    }
}

/// Start, end, and the name up to the newline, which must be there.
fn entry(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let line = line.strip_suffix(b"\n")?;
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let mut number = || {
        let digits = std::str::from_utf8(words.next()?).ok()?;
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        // `from_str_radix` would take a sign.
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(digits, 16).ok().filter(|_| is_plain)
    };
    let (start, size) = (number()?, number()?);
    let name = words.next().filter(|name| !name.is_empty())?;
    Some((start, start.checked_add(size).filter(|_| size > 0)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn code_is_named_by_the_last_line_that_speaks_of_it() {
        let map = PerfMap::parse(b"1000 100 Interpreter\n1000 40 LazyCompile:*a b /x.js:1:2\n0x2000 10 two\n".to_vec());
        let name = |address| map.at(address).map(|(name, start)| (name.to_string(), start));
        assert_eq!(name(0x103f), Some(("LazyCompile:*a b /x.js:1:2".to_owned(), 0x1000)));
        assert_eq!(name(0x1040), Some(("Interpreter".to_owned(), 0x1000)));
        assert_eq!(name(0x2000), Some(("two".to_owned(), 0x2000)));
        assert_eq!((name(0xfff), name(0x1100), name(0x2010)), (None, None, None));
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        let text = b"\n\nxyz 10 a\n1000 0 nothing\n1000 10\n1000 10 \n+1000 10 sign\nffffffffffffffff 10 over\n3000 8 good\n4000 8 half";
        let map = PerfMap::parse(text.to_vec());
        assert_eq!(map.entries.len(), 1);
        assert_eq!(map.at(0x3007), Some(("good".into(), 0x3000)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_map(text: Vec<u8>, address: u64) {
            let _ = PerfMap::parse(text).at(address);
        }

        #[test]
        fn what_was_written_is_found(start in 0u64..1 << 47, size in 1u64..1 << 20, name in "[^\n ][^\n]{0,20}") {
            let map = PerfMap::parse(format!("{start:x} {size:x} {name}\n").into_bytes());
            prop_assert_eq!(map.at(start + size - 1), Some((name.as_str().into(), start)));
            prop_assert_eq!(map.at(start + size), None);
        }
    }
}
