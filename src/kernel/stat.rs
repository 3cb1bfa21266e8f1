//! `/proc/<pid>/stat` and `/proc/<pid>/task/<tid>/stat`: state, clocks, faults and scheduling in one line.
//!
//! Source: Documentation/filesystems/proc.rst, table 1-4, and `do_task_stat` in fs/proc/array.c. The
//! name stands in parentheses, raw: it may hold spaces, parentheses and line feeds, so the line is
//! cut at its last `)`. Addresses read 0 or 1 without ptrace access. The process' file gives the
//! sums of all its threads, ended ones included; the thread's file gives its own.

use std::io;
use std::os::fd::AsFd;

use super::file::{self, Buffer};
use crate::model::Ticks;

/// One line. Field numbers as in `proc_pid_stat(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat<'a> {
    /// 2: as the program set it, at most 15 bytes (64 for some kernel threads), of any value.
    pub name: &'a [u8],
    /// 3: one letter.
    pub state: u8,
    /// 4.
    pub parent: u32,
    /// 9: `PF_…`.
    pub flags: u64,
    /// 10, 12.
    pub minor_faults: u64,
    pub major_faults: u64,
    /// 14, 15: scaled to ticks.
    pub user: Ticks,
    pub system: Ticks,
    /// 19.
    pub nice: i32,
    /// 20: threads of the process.
    pub threads: u32,
    /// 22: since boot.
    pub start: Ticks,
    /// 24: pages. Counted in batches for each CPU, so it may be some pages off.
    pub resident_pages: u64,
    /// 26, 28: change with an exec. 0 or 1 where that is denied.
    pub start_code: u64,
    pub start_stack: u64,
    /// 39.
    pub last_cpu: u32,
    /// 40.
    pub rt_priority: u32,
    /// 41: `SCHED_…`.
    pub policy: u32,
}

/// `PF_KTHREAD` of include/linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

impl Stat<'_> {
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }
}

/// Reads `name` (`stat` or `<tid>/stat`) within a kept directory.
pub fn read_at<'b>(dir: impl AsFd, name: &str, buffer: &'b mut Buffer) -> io::Result<Option<Stat<'b>>> {
    match file::read_at(dir, name, buffer)? {
        Some(line) => parse(line).map(Some).ok_or_else(|| unreadable(name)),
        None => Ok(None),
    }
}

fn unreadable(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{name} is not a stat line"))
}

pub fn parse(line: &[u8]) -> Option<Stat<'_>> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let name = line.get(open + 1..close)?;
    let mut fields = line[close + 1..]
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|field| !field.is_empty());
    let &[state] = fields.next()? else { return None };

    // From here on field 4 is the next; `skip` leaves out those that nobody asks for.
    let mut next = |skip: usize| number(fields.nth(skip)?);
    Some(Stat {
        name,
        state,
        parent: next(0)? as u32,
        flags: next(4)? as u64,
        minor_faults: next(0)? as u64,
        major_faults: next(1)? as u64,
        user: Ticks(next(1)? as u64),
        system: Ticks(next(0)? as u64),
        nice: next(3)? as i32,
        threads: next(0)? as u32,
        start: Ticks(next(1)? as u64),
        resident_pages: next(1)? as u64,
        start_code: next(1)? as u64,
        start_stack: next(1)? as u64,
        last_cpu: next(10)? as u32,
        rt_priority: next(0)? as u32,
        policy: next(0)? as u32,
    })
}

/// Some fields are signed and some fill all 64 bits, so both fit in 128.
fn number(field: &[u8]) -> Option<i128> {
    let (negative, digits) = match field {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    let mut value: u128 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u128::from(digit - b'0');
    }
    Some(if negative { -(value as i128) } else { value as i128 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KTHREADD: &[u8] = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 25 0 0 18446744073709551615 0 0 0 0 0 0 0 2147483647 0 1 0 0 0 3 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
    const WORKER: &[u8] = b"71 (io) pool (2) R 1 71 71 0 -1 4194368 9 8 7 6 500 25 4 3 39 -19 12 0 8899 123 456 18446744073709551615 4096 8192 140727 0 0 0 0 0 0 0 0 0 -1 5 99 1 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn a_thread_name_may_hold_spaces_and_parentheses() {
        assert_eq!(parse(WORKER).unwrap().name, b"io) pool (2");
    }

    #[test]
    fn every_field_is_taken_from_its_own_place() {
        let stat = parse(WORKER).unwrap();
        assert_eq!(
            stat,
            Stat {
                name: b"io) pool (2",
                state: b'R',
                parent: 1,
                flags: 4194368,
                minor_faults: 9,
                major_faults: 7,
                user: Ticks(500),
                system: Ticks(25),
                nice: -19,
                threads: 12,
                start: Ticks(8899),
                resident_pages: 456,
                start_code: 4096,
                start_stack: 140727,
                last_cpu: 5,
                rt_priority: 99,
                policy: 1,
            }
        );
        assert!(!stat.is_kernel_thread());
    }

    #[test]
    fn a_kernel_thread_is_told_by_its_flag() {
        let stat = parse(KTHREADD).unwrap();
        assert!(stat.is_kernel_thread());
        assert_eq!((stat.last_cpu, stat.start), (3, Ticks(25)));
    }

    #[test]
    fn a_name_may_hold_any_byte() {
        for name in [&b""[..], b")", b"a\nb", b"(((", b") R 1 1", b"\xff\xfe"] {
            let mut line = b"9 (".to_vec();
            line.extend_from_slice(name);
            line.extend_from_slice(&WORKER[WORKER.iter().rposition(|b| *b == b')').unwrap()..]);
            let stat = parse(&line).unwrap();
            assert_eq!((stat.name, stat.threads), (name, 12));
        }
    }

    #[test]
    fn a_cut_line_is_refused() {
        for length in 0..WORKER.len() {
            // A cut within or after field 41 leaves all that we ask for.
            if let Some(stat) = parse(&WORKER[..length]) {
                assert_eq!(stat.rt_priority, 99, "{length}");
            }
        }
        assert_eq!(parse(b"1 (x R 1"), None);
        assert_eq!(parse(b"1 )x( R 1"), None);
        assert_eq!(parse(b"1 (x) RR 1 2"), None);
    }

    #[test]
    fn the_kernels_own_line_agrees_with_the_procfs_crate() {
        let theirs = procfs::process::Process::myself().unwrap().stat().unwrap();
        let line = std::fs::read("/proc/self/stat").unwrap();
        let ours = parse(&line).unwrap();
        assert_eq!(ours.name, theirs.comm.as_bytes());
        assert_eq!(ours.start.0, theirs.starttime);
        assert_eq!(ours.flags, u64::from(theirs.flags));
        assert_eq!(ours.start_stack, theirs.startstack);
        assert_eq!(Some(ours.policy), theirs.policy);
        assert_eq!(i64::from(ours.nice), theirs.nice);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
