//! The door by which the fuzzer hands a segment to the reader.

use std::sync::atomic::AtomicU64;

use super::layout::{HEADER_BYTES, MAGIC, NAME_CAPACITY, Parts, SLOT_BYTES, VERSION, segment_bytes};
use super::reader::{Memory, view};
use crate::model::Nanos;

/// Words of a segment, aligned as a mapping is.
#[repr(C, align(64))]
struct Line([AtomicU64; 8]);

/// The first bytes are what is wrong with the header (zeros: nothing), then come names and slots.
pub(crate) fn segment(bytes: &[u8]) {
    let (wrong, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES));
    let (names, slots) = rest.split_at(rest.len().min(64));
    let count = slots.len().div_ceil(SLOT_BYTES);
    let mut segment = vec![0; segment_bytes(count)];
    let honest = [
        MAGIC,
        u64::from(VERSION),
        HEADER_BYTES as u64,
        NAME_CAPACITY as u64,
        SLOT_BYTES as u64,
        count as u64,
        77,
        1,
        2,
        count as u64,
    ];
    for (into, word) in segment.chunks_exact_mut(8).zip(honest) {
        into.copy_from_slice(&word.to_le_bytes());
    }
    for (into, wrong) in segment.iter_mut().zip(wrong) {
        *into ^= wrong;
    }
    segment[HEADER_BYTES..][..names.len()].copy_from_slice(names);
    segment[segment_bytes(0)..][..slots.len()].copy_from_slice(slots);
    let word = |bytes: &[u8]| AtomicU64::new(bytes.try_into().map_or(0, u64::from_le_bytes));
    let lines: Vec<Line> = segment
        .chunks(64)
        .map(|line| {
            Line(std::array::from_fn(|at| {
                word(line.chunks(8).nth(at).unwrap_or_default())
            }))
        })
        .collect();
    // SAFETY: lines are arrays of words without padding, and are borrowed for as long as the words are used.
    let words = unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<AtomicU64>(), lines.len() * 8) };
    let Ok(parts) = Parts::check(words) else { return };
    let mut memory = Memory::default();
    // Twice: what was remembered of the first reading must not hurt the second.
    for now in [1, u64::MAX] {
        let seen = view(&parts, || Nanos(now), &mut memory);
        assert!(seen.rows.is_sorted_by(|a, b| a.tid < b.tid));
    }
}
