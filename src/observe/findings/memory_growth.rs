//! Memory that grows and is not given back.
//!
//! The snapshot knows the resident total only. Of what kind it is (heap, stacks, files…) is read by
//! `watcher` when a finding stands, at most every 30 seconds, because the map of a large process is
//! dear; [`KindGrowth`] tells the difference of two such readings.

use super::trend::Floor;
use super::{Sighting, fact};
use crate::model::{FindingFact, FindingKind, MemoryMap, Nanos, RegionKind, Severity, Snapshot};

pub(super) const RULE: &str = "The least resident memory of each 10 seconds never fell for a minute or longer and grew in two spans of three and \
     lately, by 32 MiB and a tenth or more. A warning from five minutes and 128 MiB on. What it is that grew is told from \
     two readings of the memory map, 30 seconds apart or more.";

const SPAN: Nanos = Nanos(10_000_000_000);
const NOTICE: (usize, u64) = (6, 32 << 20);
const WARNING: (usize, u64) = (30, 128 << 20);

#[derive(Debug)]
pub(super) struct MemoryGrowth(Floor);

impl Default for MemoryGrowth {
    fn default() -> MemoryGrowth {
        MemoryGrowth(Floor::new(SPAN))
    }
}

impl MemoryGrowth {
    pub fn look(&mut self, snapshot: &Snapshot) -> Option<Sighting> {
        let resident = snapshot.rss_bytes.ok()?;
        self.0.push(snapshot.taken_at, resident);
        let rise = self.0.rise()?;
        let over = |(steps, bytes): (usize, u64)| rise.steps >= steps && rise.growth() >= bytes;
        if !over(NOTICE) || rise.growth() < rise.from / 10 {
            return None;
        }
        Some(Sighting {
            kind: FindingKind::MemoryGrowth,
            severity: if over(WARNING) {
                Severity::Warning
            } else {
                Severity::Notice
            },
            subject: 0,
            summary: format!(
                "resident memory grew by {} MiB in {:.0} s ({:.1} MiB a minute) to {} MiB",
                rise.growth() >> 20,
                rise.seconds,
                rise.per_minute() / f64::from(1 << 20),
                resident >> 20,
            ),
            evidence: vec![
                fact("rss_bytes", resident as f64, "bytes"),
                fact("growth_bytes", rise.growth() as f64, "bytes"),
                fact("growth_bytes_per_minute", rise.per_minute(), "bytes"),
                fact("window_seconds", rise.seconds, "seconds"),
            ],
            culprits: Vec::new(),
            stack: None,
            rule: RULE,
        })
    }
}

/// Resident bytes of each kind at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KindGrowth {
    at: Nanos,
    resident: [u64; KINDS.len()],
}

const KINDS: [(RegionKind, &str, &str); 7] = [
    (RegionKind::Heap, "heap", "heap_growth_bytes"),
    (RegionKind::Stack, "stacks", "stack_growth_bytes"),
    (RegionKind::MappedFile, "mapped files", "mapped_file_growth_bytes"),
    (RegionKind::SharedMemory, "shared memory", "shared_memory_growth_bytes"),
    (RegionKind::Globals, "globals", "globals_growth_bytes"),
    (RegionKind::Code, "code", "code_growth_bytes"),
    (RegionKind::Other, "other", "other_growth_bytes"),
];

impl KindGrowth {
    /// `None` when only virtual sizes are known.
    pub fn of(map: &MemoryMap) -> Option<KindGrowth> {
        map.resident_known.ok()?;
        Some(KindGrowth {
            at: map.taken_at,
            resident: KINDS.map(|(kind, ..)| map.sum(&[kind]).resident_bytes),
        })
    }

    /// What grew most since `before`, in words and figures. `None` when nothing did.
    pub fn since(&self, before: &KindGrowth) -> Option<(String, Vec<FindingFact>)> {
        let seconds = self.at.saturating_sub(before.at).seconds();
        let mut grown: Vec<(u64, &str, &'static str)> = KINDS
            .iter()
            .zip(self.resident.iter().zip(before.resident))
            .filter_map(|((_, word, name), (now, was))| Some((now.checked_sub(was)?, *word, *name)))
            .filter(|(bytes, ..)| *bytes >= 1 << 20)
            .collect();
        grown.sort_by_key(|(bytes, word, _)| (std::cmp::Reverse(*bytes), *word));
        let words: Vec<String> = grown
            .iter()
            .take(3)
            .map(|(bytes, word, _)| format!("{word} {} MiB", bytes >> 20))
            .collect();
        let facts = grown
            .iter()
            .map(|(bytes, _, name)| fact(name, *bytes as f64, "bytes"))
            .collect();
        (!words.is_empty()).then(|| (format!("in {seconds:.0} s: {}", words.join(", ")), facts))
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, snapshot};
    use super::*;
    use crate::model::Unknown;

    fn run(bytes: impl IntoIterator<Item = u64>) -> Option<Sighting> {
        let mut detector = MemoryGrowth::default();
        let mut last = None;
        for (second, bytes) in bytes.into_iter().enumerate() {
            let mut made = snapshot(second as u64 * SECOND, Vec::new());
            made.rss_bytes = Ok(bytes);
            last = detector.look(&made);
        }
        last
    }

    #[test]
    fn a_mebibyte_a_second_is_growth_and_after_five_minutes_a_warning() {
        let told = run((0..90).map(|n| (100 + n) << 20)).unwrap();
        assert_eq!(told.severity, Severity::Notice);
        assert!(told.summary.contains("60.0 MiB a minute"), "{}", told.summary);
        assert_eq!(
            run((0..400).map(|n| (100 + n) << 20)).unwrap().severity,
            Severity::Warning
        );
    }

    #[test]
    fn a_sawtooth_a_small_growth_and_a_start_are_none() {
        assert!(run((0..400).map(|n| (100 + n % 37 * 8) << 20)).is_none());
        assert!(run((0..400).map(|n| (100 << 20) + n * 4096)).is_none());
        assert!(run((0..400).map(|n: u64| (100 + n.min(40) * 10) << 20)).is_none());
        assert!(run((0..90).map(|n| (10_000 + n) << 20)).is_none());
        let mut unknown = snapshot(0, Vec::new());
        unknown.rss_bytes = Err(Unknown::Denied);
        assert!(MemoryGrowth::default().look(&unknown).is_none());
    }

    #[test]
    fn the_kind_that_grew_most_comes_first() {
        let at = |seconds: u64, heap: u64, stack: u64| KindGrowth {
            at: Nanos(seconds * SECOND),
            resident: [heap << 20, stack << 20, 7 << 20, 0, 0, 0, 0],
        };
        let (words, facts) = at(40, 90, 30).since(&at(10, 10, 20)).unwrap();
        assert_eq!(words, "in 30 s: heap 80 MiB, stacks 10 MiB");
        assert_eq!((facts.len(), facts[0].name), (2, "heap_growth_bytes"));
        assert_eq!(at(40, 10, 10).since(&at(10, 20, 10)), None);
    }
}
