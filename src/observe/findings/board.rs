//! What holds now: since when, last seen when, and which changes the outside has not been told yet.
//!
//! Detectors say what they see and remember nothing of it. A finding that a detector no longer sees is
//! taken down after a grace, so that one that comes and goes is one finding with one beginning. All
//! findings of a process go when it ends or is no longer watched. The board is bounded: when it is
//! full, what matters least gives way to what matters more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::{MOST_CULPRITS, Sighting};
use crate::model::{Finding, FindingFact, FindingKind, FindingState, Nanos, ProcessKey, Severity, Stack, Tid};

/// A detector may miss what it saw for this long.
const GRACE: Nanos = Nanos(3_000_000_000);
/// Between two tellings of one finding that merely has other culprits.
const TELL_AGAIN: Nanos = Nanos(5_000_000_000);
const MOST: usize = 512;
const MOST_OF_ONE: usize = 32;
/// Changes that nobody has taken yet; the oldest give way.
const MOST_CHANGES: usize = 1024;

/// One change of the board.
#[derive(Clone, Debug)]
pub struct FindingChange {
    pub state: FindingState,
    pub finding: Finding,
}

/// What was learnt about a finding by a closer look, which is not repeated at each sighting.
#[derive(Clone, Debug, Default)]
pub(super) struct Detail {
    pub words: String,
    pub facts: Vec<FindingFact>,
    pub stack: Option<Arc<Stack>>,
}

#[derive(Debug)]
struct Entry {
    finding: Finding,
    subject: u64,
    detail: Option<Detail>,
    told: (Severity, u32, Nanos),
}

impl Entry {
    fn told(&self) -> Finding {
        let mut finding = self.finding.clone();
        if let Some(detail) = &self.detail {
            finding.summary = format!("{}; {}", finding.summary, detail.words);
            finding.evidence.extend(detail.facts.iter().cloned());
            if finding.stack.is_none() {
                finding.stack.clone_from(&detail.stack);
            }
        }
        finding
    }
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    changes: VecDeque<FindingChange>,
}

impl Inner {
    fn tell(&mut self, state: FindingState, finding: Finding) {
        if self.changes.len() == MOST_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(FindingChange { state, finding });
    }

    fn remove(&mut self, is_over: impl Fn(&Entry) -> bool) {
        let mut at = 0;
        while at < self.entries.len() {
            if is_over(&self.entries[at]) {
                let entry = self.entries.swap_remove(at);
                self.tell(FindingState::Cleared, entry.told());
            } else {
                at += 1;
            }
        }
    }

    /// Whether there is room for one more of this severity, after what matters less has given way.
    fn make_room(&mut self, process: ProcessKey, severity: Severity) -> bool {
        let of_one = |entry: &&Entry| entry.finding.process == process;
        let full_of_one = self.entries.iter().filter(of_one).count() >= MOST_OF_ONE;
        if !full_of_one && self.entries.len() < MOST {
            return true;
        }
        let least = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| !full_of_one || entry.finding.process == process)
            .min_by_key(|(_, entry)| (entry.finding.severity, std::cmp::Reverse(entry.finding.since)));
        match least {
            Some((at, entry)) if entry.finding.severity < severity => {
                let entry = self.entries.swap_remove(at);
                self.tell(FindingState::Cleared, entry.told());
                true
            }
            _ => false,
        }
    }
}

/// What the detectors found, of every process that is watched. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::observe) struct Board(Arc<Mutex<Inner>>);

impl Board {
    /// Of one process.
    pub fn of(&self, process: ProcessKey) -> Vec<Finding> {
        let board = self.0.lock();
        let of_it = board.entries.iter().filter(|entry| entry.finding.process == process);
        of_it.map(Entry::told).collect()
    }

    /// Of all.
    pub fn all(&self) -> Vec<Finding> {
        self.0.lock().entries.iter().map(Entry::told).collect()
    }

    /// The changes since this was last asked for, oldest first.
    pub fn take_changes(&self) -> Vec<FindingChange> {
        let mut board = self.0.lock();
        board.changes.drain(..).collect()
    }

    /// What the detectors of `kinds` see in a process now: all of it. They may miss something for a moment.
    pub(super) fn update(
        &self,
        process: ProcessKey,
        process_name: &Arc<str>,
        kinds: &[FindingKind],
        seen: Vec<Sighting>,
        now: Nanos,
        wall_clock: SystemTime,
    ) {
        self.see(process, process_name, kinds, seen, (now, wall_clock), GRACE);
    }

    /// The same of detectors that miss nothing: what they don't see is over.
    pub(super) fn replace(
        &self,
        process: ProcessKey,
        process_name: &Arc<str>,
        kinds: &[FindingKind],
        seen: Vec<Sighting>,
        now: Nanos,
        wall_clock: SystemTime,
    ) {
        self.see(process, process_name, kinds, seen, (now, wall_clock), Nanos(0));
    }

    fn see(
        &self,
        process: ProcessKey,
        process_name: &Arc<str>,
        kinds: &[FindingKind],
        seen: Vec<Sighting>,
        (now, wall_clock): (Nanos, SystemTime),
        grace: Nanos,
    ) {
        let mut board = self.0.lock();
        for sighting in seen {
            board.put(process, process_name, sighting, now, wall_clock);
        }
        board.remove(|entry| {
            let finding = &entry.finding;
            finding.process == process && kinds.contains(&finding.kind) && now.saturating_sub(finding.last_seen) > grace
        });
    }

    /// Nothing has moved since these were seen: they still hold.
    pub(super) fn still_holds(&self, process: ProcessKey, kinds: &[FindingKind], now: Nanos) {
        let mut board = self.0.lock();
        for entry in &mut board.entries {
            if entry.finding.process == process && kinds.contains(&entry.finding.kind) {
                entry.finding.last_seen = entry.finding.last_seen.max(now);
            }
        }
    }

    /// The kinds that stand for a process, with the culprits that are named.
    pub(super) fn standing(&self, process: ProcessKey) -> Vec<(FindingKind, Vec<Tid>)> {
        let board = self.0.lock();
        let of_it = board.entries.iter().filter(|entry| entry.finding.process == process);
        of_it
            .map(|entry| (entry.finding.kind, entry.finding.culprits.clone()))
            .collect()
    }

    /// Adds to what is said of a finding that stands.
    pub(super) fn describe(&self, process: ProcessKey, kind: FindingKind, detail: &Detail) {
        let mut board = self.0.lock();
        let mut told = Vec::new();
        for entry in &mut board.entries {
            if entry.finding.process == process && entry.finding.kind == kind {
                let first = entry.detail.is_none();
                entry.detail = Some(detail.clone());
                if first {
                    told.push(entry.told());
                }
            }
        }
        for finding in told {
            board.tell(FindingState::Changed, finding);
        }
    }

    /// Takes down all of the processes that are not meant: they have ended or are watched no more.
    pub fn keep(&self, is_watched: impl Fn(&ProcessKey) -> bool) {
        self.0.lock().remove(|entry| !is_watched(&entry.finding.process));
    }
}

impl Inner {
    fn put(
        &mut self,
        process: ProcessKey,
        process_name: &Arc<str>,
        sighting: Sighting,
        now: Nanos,
        wall_clock: SystemTime,
    ) {
        let Sighting {
            kind,
            severity,
            subject,
            mut culprits,
            summary,
            evidence,
            stack,
            rule,
        } = sighting;
        let culprit_count = u32::try_from(culprits.len()).unwrap_or(u32::MAX);
        culprits.truncate(MOST_CULPRITS);
        let known = self
            .entries
            .iter_mut()
            .find(|entry| entry.finding.process == process && entry.finding.kind == kind && entry.subject == subject);
        if let Some(entry) = known {
            let finding = &mut entry.finding;
            (finding.severity, finding.last_seen) = (severity, now.max(finding.last_seen));
            (finding.culprits, finding.culprit_count) = (culprits, culprit_count);
            (finding.summary, finding.evidence, finding.stack) = (summary, evidence, stack);
            finding.process_name = Arc::clone(process_name);
            let (told_severity, told_count, told_at) = entry.told;
            let again = told_count != culprit_count && now.saturating_sub(told_at) >= TELL_AGAIN;
            if told_severity != severity || again {
                entry.told = (severity, culprit_count, now);
                let finding = entry.told();
                self.tell(FindingState::Changed, finding);
            }
            return;
        }
        if !self.make_room(process, severity) {
            return;
        }
        let finding = Finding {
            kind,
            severity,
            process,
            process_name: Arc::clone(process_name),
            since: now,
            since_wall_clock: wall_clock,
            last_seen: now,
            culprits,
            culprit_count,
            summary,
            evidence,
            stack,
            rule,
        };
        self.tell(FindingState::Raised, finding.clone());
        self.entries.push(Entry {
            finding,
            subject,
            detail: None,
            told: (severity, culprit_count, now),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, process};
    use super::*;
    use crate::model::Pid;

    fn sighting(kind: FindingKind, severity: Severity, subject: u64, culprits: u32) -> Sighting {
        Sighting {
            kind,
            severity,
            subject,
            culprits: (0..culprits).map(Tid).collect(),
            summary: "made".to_owned(),
            evidence: Vec::new(),
            stack: None,
            rule: "made up",
        }
    }

    fn leak(severity: Severity) -> Sighting {
        sighting(FindingKind::ThreadLeak, severity, 0, 100)
    }

    fn show(board: &Board, seen: Vec<Sighting>, second: u64) {
        board.update(
            process(),
            &"made".into(),
            &[FindingKind::ThreadLeak, FindingKind::Deadlock],
            seen,
            Nanos(second * SECOND),
            SystemTime::UNIX_EPOCH,
        );
    }

    fn told(board: &Board) -> Vec<FindingState> {
        board.take_changes().into_iter().map(|change| change.state).collect()
    }

    #[test]
    fn one_that_comes_and_goes_is_one_finding_and_is_taken_down_after_a_grace() {
        let board = Board::default();
        show(&board, vec![leak(Severity::Notice)], 10);
        show(&board, Vec::new(), 12);
        show(&board, vec![leak(Severity::Notice)], 13);
        let found = board.of(process());
        assert_eq!(
            (found[0].since, found[0].last_seen),
            (Nanos(10 * SECOND), Nanos(13 * SECOND))
        );
        assert_eq!((found[0].culprits.len(), found[0].culprit_count), (64, 100));
        show(&board, Vec::new(), 16);
        assert_eq!(board.all().len(), 1);
        show(&board, Vec::new(), 17);
        assert!(board.all().is_empty());
        assert_eq!(told(&board), [FindingState::Raised, FindingState::Cleared]);
        assert!(told(&board).is_empty());
    }

    #[test]
    fn a_new_severity_is_told_at_once_and_other_culprits_not_too_often() {
        let board = Board::default();
        show(&board, vec![leak(Severity::Notice)], 1);
        show(&board, vec![leak(Severity::Warning)], 2);
        for second in 3..=13 {
            let culprits = second as u32;
            show(
                &board,
                vec![sighting(FindingKind::ThreadLeak, Severity::Warning, 0, culprits)],
                second,
            );
        }
        let states = told(&board);
        assert_eq!(states[0], FindingState::Raised);
        // The severity, and the culprits at 7 and 12 seconds.
        assert_eq!(states[1..], [FindingState::Changed; 3]);
    }

    #[test]
    fn what_another_kind_of_detector_saw_stays_and_other_processes_too() {
        let board = Board::default();
        let mut other = process();
        other.pid = Pid(7);
        show(
            &board,
            vec![sighting(FindingKind::Deadlock, Severity::Critical, 5, 2)],
            1,
        );
        board.update(
            other,
            &"other".into(),
            &[FindingKind::ThreadLeak],
            Vec::new(),
            Nanos(99 * SECOND),
            SystemTime::UNIX_EPOCH,
        );
        board.update(
            process(),
            &"made".into(),
            &[FindingKind::ThreadLeak],
            Vec::new(),
            Nanos(99 * SECOND),
            SystemTime::UNIX_EPOCH,
        );
        assert_eq!(board.all().len(), 1);
        board.still_holds(process(), &[FindingKind::Deadlock], Nanos(100 * SECOND));
        show(&board, Vec::new(), 102);
        assert_eq!(board.all().len(), 1);
        board.keep(|key| *key == other);
        assert!(board.all().is_empty());
    }

    #[test]
    fn a_full_board_gives_room_to_what_matters_more() {
        let board = Board::default();
        for subject in 0..1000 {
            show(
                &board,
                vec![sighting(FindingKind::Deadlock, Severity::Warning, subject, 2)],
                1,
            );
        }
        assert_eq!(board.all().len(), MOST_OF_ONE);
        show(
            &board,
            vec![sighting(FindingKind::Deadlock, Severity::Critical, 7777, 2)],
            1,
        );
        let found = board.all();
        assert_eq!(found.len(), MOST_OF_ONE);
        assert!(found.iter().any(|finding| finding.severity == Severity::Critical));

        for number in 1..=2 * MOST as u32 {
            let mut other = process();
            other.pid = Pid(10_000 + number);
            let seen = vec![leak(Severity::Notice)];
            board.update(other, &"other".into(), &[], seen, Nanos(SECOND), SystemTime::UNIX_EPOCH);
        }
        assert_eq!(board.all().len(), MOST);
        assert!(board.take_changes().len() <= MOST_CHANGES);
    }

    #[test]
    fn what_a_closer_look_adds_stays_over_later_sightings() {
        let board = Board::default();
        show(&board, vec![leak(Severity::Notice)], 1);
        let detail = Detail {
            words: "started at leak_main".to_owned(),
            ..Detail::default()
        };
        board.describe(process(), FindingKind::ThreadLeak, &detail);
        show(&board, vec![leak(Severity::Notice)], 2);
        board.describe(process(), FindingKind::ThreadLeak, &detail);
        assert_eq!(board.all()[0].summary, "made; started at leak_main");
        assert_eq!(told(&board), [FindingState::Raised, FindingState::Changed]);
    }
}
