//! What detectors found, of one process or of all that are watched.

use std::time::SystemTime;

use serde::Serialize;
use utoipa::ToSchema;

use super::rfc3339;
use super::stacks::{self, Frame};
use crate::model;

#[derive(Debug, Serialize, ToSchema)]
pub struct Fact {
    name: &'static str,
    value: Option<f64>,
    unit: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Finding<'a> {
    /// deadlock, abandoned_lock, inherited_lock, blocked_behind, same_place, thread_leak, starvation,
    /// oversubscription, stack_nearly_exhausted, disk_sleep_pile_up, switch_storm or memory_growth.
    kind: &'static str,
    /// notice, warning or critical.
    severity: &'static str,
    pid: u32,
    process_name: &'a str,
    since: String,
    /// Since it was first seen until it was last.
    lasted_seconds: f64,
    /// The threads to look at, worst first; at most 64.
    culprits: Vec<u32>,
    culprit_count: u32,
    summary: &'a str,
    evidence: Vec<Fact>,
    /// Where all culprits stand, when that is one place.
    frames: Option<Vec<Frame<'a>>>,
    /// The detector's rule in words.
    rule: &'static str,
}

impl<'a> Finding<'a> {
    pub fn of(finding: &'a model::Finding) -> Finding<'a> {
        Finding {
            kind: finding.kind.name(),
            severity: finding.severity.name(),
            pid: finding.process.pid.0,
            process_name: &finding.process_name,
            since: rfc3339(finding.since_wall_clock),
            lasted_seconds: finding.last_seen.saturating_sub(finding.since).seconds(),
            culprits: finding.culprits.iter().map(|tid| tid.0).collect(),
            culprit_count: finding.culprit_count,
            summary: &finding.summary,
            evidence: finding
                .evidence
                .iter()
                .map(|fact| Fact {
                    name: fact.name,
                    value: fact.value.is_finite().then_some(fact.value),
                    unit: fact.unit,
                })
                .collect(),
            frames: finding.stack.as_deref().map(stacks::frames),
            rule: finding.rule,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Findings<'a> {
    taken_at: String,
    /// Most severe first, then the oldest.
    findings: Vec<Finding<'a>>,
}

impl<'a> Findings<'a> {
    pub fn of(findings: impl Iterator<Item = &'a model::Finding>, taken_at: SystemTime) -> Findings<'a> {
        let mut findings: Vec<&model::Finding> = findings.collect();
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.since, finding.process));
        Findings {
            taken_at: rfc3339(taken_at),
            findings: findings.into_iter().map(Finding::of).collect(),
        }
    }
}

/// What a `finding` event carries: the finding, and what has become of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct FindingEvent<'a> {
    /// raised, changed (its severity, its culprits, or what is known of it) or cleared.
    state: &'static str,
    #[serde(flatten)]
    finding: Finding<'a>,
}

impl<'a> FindingEvent<'a> {
    pub fn of(finding: &'a model::Finding, state: model::FindingState) -> FindingEvent<'a> {
        FindingEvent {
            state: state.name(),
            finding: Finding::of(finding),
        }
    }
}
