//! How many threads there were since the watch began: most at once, started, ended.
//!
//! A thread that came and went between two ticks is seen by nobody who polls. Where the process
//! keeps a ledger, that one counts each thread when it takes its slot, so the count is exact. Else
//! it is the number of distinct threads seen (tid and start time, so a reused tid counts again): a
//! lower bound. Nothing else in `/proc` helps: no file counts the threads a process has started,
//! and the gaps between tids, like the newest pid in `/proc/loadavg`, are the whole machine's.
//! Always `started = ended + present`.

use crate::model::LedgerView;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Churn {
    peak: u32,
    started_seen: u64,
    /// The ledger's own count at its first reading, and what we had seen by then.
    ledger_base: Option<(u64, u64)>,
    now: Tally,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub peak: u32,
    pub started: u64,
    pub exact: bool,
    pub ended: u64,
}

impl Churn {
    /// A pass has seen `started` threads for the first time and `present` at its end; `counted` is
    /// the kernel's own count at its beginning.
    pub(super) fn pass(&mut self, started: u64, present: u64, counted: u32, ledger: Option<&LedgerView>) -> Tally {
        self.started_seen += started;
        self.peak = self.peak.max(counted).max(present as u32);
        let mut best = self.started_seen;
        // With threads that found no slot the ledger's count is a lower bound like ours.
        let whole = ledger.filter(|ledger| ledger.overflow == 0);
        if let Some(ledger) = whole {
            let (base, seen) = *self
                .ledger_base
                .get_or_insert((ledger.started_total, self.started_seen));
            best = best.max(seen + ledger.started_total.saturating_sub(base));
        }
        // Never fewer than before, should the ledger be lost on the way.
        best = best.max(self.now.started).max(present);
        self.now = Tally {
            peak: self.peak,
            started: best,
            exact: whole.is_some(),
            ended: best - present,
        };
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(started_total: u64, overflow: u64) -> LedgerView {
        LedgerView {
            started_total,
            overflow,
            ..LedgerView::default()
        }
    }

    #[test]
    fn without_a_ledger_it_counts_what_was_seen() {
        let mut churn = Churn::default();
        churn.pass(3, 3, 3, None);
        churn.pass(2, 4, 5, None);
        let tally = churn.pass(0, 1, 1, None);
        assert_eq!(
            tally,
            Tally {
                peak: 5,
                started: 5,
                exact: false,
                ended: 4
            }
        );
    }

    #[test]
    fn the_ledger_counts_those_that_nobody_saw() {
        let mut churn = Churn::default();
        // Forty had come and gone before the watch began: they are not counted.
        churn.pass(3, 3, 3, Some(&ledger(43, 0)));
        let tally = churn.pass(0, 3, 3, Some(&ledger(143, 0)));
        assert_eq!(
            tally,
            Tally {
                peak: 3,
                started: 103,
                exact: true,
                ended: 100
            }
        );
        // The ledger is gone: what it counted stays.
        assert_eq!(
            churn.pass(1, 4, 4, None),
            Tally {
                peak: 4,
                started: 103,
                exact: false,
                ended: 99
            }
        );
    }

    #[test]
    fn a_ledger_that_ran_out_of_slots_is_not_exact() {
        let tally = Churn::default().pass(3, 3, 3, Some(&ledger(2, 1)));
        assert_eq!(
            tally,
            Tally {
                peak: 3,
                started: 3,
                exact: false,
                ended: 0
            }
        );
    }
}
