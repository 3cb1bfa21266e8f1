//! `/proc/<pid>/task/<tid>/schedstat`: on a CPU (ns), runnable but waiting for one (ns), turns taken.
//!
//! Source: Documentation/scheduler/sched-stats.rst. Absent without `CONFIG_SCHED_INFO`. The first
//! number is up to a tick old while the thread runs. The second grows when the thread is *picked*:
//! that of a starved thread stands still. Where the bookkeeping is switched off, all three read 0.

use crate::model::Nanos;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadClock {
    pub on_cpu: Nanos,
    pub runnable: Nanos,
    pub slices: u64,
}

pub fn parse(line: &[u8]) -> Option<ThreadClock> {
    let mut fields = line.trim_ascii().split(|byte| *byte == b' ');
    let mut next = || -> Option<u64> { std::str::from_utf8(fields.next()?).ok()?.parse().ok() };
    Some(ThreadClock {
        on_cpu: Nanos(next()?),
        runnable: Nanos(next()?),
        slices: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_and_nothing_less() {
        assert_eq!(
            parse(b"185070874 12672999 422\n"),
            Some(ThreadClock {
                on_cpu: Nanos(185070874),
                runnable: Nanos(12672999),
                slices: 422,
            })
        );
        for line in [&b""[..], b"1 2", b"1 2 x", b"-1 2 3", b"99999999999999999999 1 1"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
