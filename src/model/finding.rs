//! Something wrong that a detector names: kind, culprits, evidence, since when.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Nanos, ProcessKey, Stack, Tid};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    Deadlock,
    /// Its owner has ended.
    AbandonedLock,
    /// Held by a thread of the process that this one was forked from.
    InheritedLock,
    /// Many threads wait, at the end of chains, for one that does something else.
    BlockedBehind,
    /// All workers are blocked in the same place.
    SamePlace,
    ThreadLeak,
    Starvation,
    Oversubscription,
    StackNearlyExhausted,
    DiskSleepPileUp,
    SwitchStorm,
    MemoryGrowth,
}

impl FindingKind {
    pub const ALL: [FindingKind; 12] = [
        FindingKind::Deadlock,
        FindingKind::AbandonedLock,
        FindingKind::InheritedLock,
        FindingKind::BlockedBehind,
        FindingKind::SamePlace,
        FindingKind::ThreadLeak,
        FindingKind::Starvation,
        FindingKind::Oversubscription,
        FindingKind::StackNearlyExhausted,
        FindingKind::DiskSleepPileUp,
        FindingKind::SwitchStorm,
        FindingKind::MemoryGrowth,
    ];

    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Deadlock => "deadlock",
            FindingKind::AbandonedLock => "abandoned_lock",
            FindingKind::InheritedLock => "inherited_lock",
            FindingKind::BlockedBehind => "blocked_behind",
            FindingKind::SamePlace => "same_place",
            FindingKind::ThreadLeak => "thread_leak",
            FindingKind::Starvation => "starvation",
            FindingKind::Oversubscription => "oversubscription",
            FindingKind::StackNearlyExhausted => "stack_nearly_exhausted",
            FindingKind::DiskSleepPileUp => "disk_sleep_pile_up",
            FindingKind::SwitchStorm => "switch_storm",
            FindingKind::MemoryGrowth => "memory_growth",
        }
    }
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    Notice,
    Warning,
    Critical,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Notice, Severity::Warning, Severity::Critical];

    pub fn name(self) -> &'static str {
        match self {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// What has become of a finding, as its events tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindingState {
    Raised,
    /// Its severity, its culprits, or what is known of it.
    Changed,
    Cleared,
}

impl FindingState {
    pub fn name(self) -> &'static str {
        match self {
            FindingState::Raised => "raised",
            FindingState::Changed => "changed",
            FindingState::Cleared => "cleared",
        }
    }
}

/// One thing that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingFact {
    /// `run_delay_ratio`, `threads`: the API's own name of it where there is one.
    pub name: &'static str,
    pub value: f64,
    /// `ratio`, `bytes`, `seconds`, `threads`, `per_second`, `count`.
    pub unit: &'static str,
}

/// What a detector found, as of its latest look.
#[derive(Clone, Debug)]
pub struct Finding {
    pub kind: FindingKind,
    pub severity: Severity,
    pub process: ProcessKey,
    pub process_name: Arc<str>,
    /// `CLOCK_MONOTONIC`: when it was first seen, and last.
    pub since: Nanos,
    pub since_wall_clock: SystemTime,
    pub last_seen: Nanos,
    /// The threads to look at, worst first; at most 64, of `culprit_count`.
    pub culprits: Vec<Tid>,
    pub culprit_count: u32,
    /// One sentence with the figures in it. Names in it are hostile bytes.
    pub summary: String,
    pub evidence: Vec<FindingFact>,
    /// Where the culprits stand, when all stand in one place.
    pub stack: Option<Arc<Stack>>,
    /// The detector's rule in words.
    pub rule: &'static str,
}
