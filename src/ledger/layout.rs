//! The segment's shape in memory, and the checks that a foreign one must pass before a slot is looked at.
//!
//! `mod.rs` has the table. Every word is an atomic, because the other side may write it at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::slot::{Owner, Slot};

/// `TSLEDGER`, read as a little-endian word.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"TSLEDGER");
pub(super) const VERSION: u32 = 1;

/// Name of the memory file; readers look for it among a process' descriptors.
pub(super) const FILE_NAME: &str = "threadscape-ledger";

/// Names are cut to this many bytes of UTF-8 and padded with zeros.
pub(super) const NAME_BYTES: usize = 32;
const NAME_WORDS: usize = NAME_BYTES / 8;
pub(super) const NAME_CAPACITY: usize = 1024;
const _: () = assert!(NAME_CAPACITY < Owner::NAME_LIMIT as usize);

/// Bound on slots: 12 MiB, of which only pages in use are ever touched.
pub(super) const MOST_SLOTS: usize = 65_536;

pub(super) const HEADER_BYTES: usize = size_of::<Header>();
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();
const NAMES_BYTES: usize = NAME_CAPACITY * NAME_BYTES;
const _: () = assert!(SLOT_BYTES == 192 && HEADER_BYTES == 192);

/// How long a segment with `slots` slots is.
pub(super) const fn segment_bytes(slots: usize) -> usize {
    HEADER_BYTES + NAMES_BYTES + slots * SLOT_BYTES
}

/// One line that never changes, one that changes with threads, one that overflowed threads share.
#[repr(C, align(64))]
pub(super) struct Header {
    pub(super) magic: AtomicU64,
    pub(super) version: AtomicU64,
    pub(super) header_bytes: AtomicU64,
    pub(super) name_capacity: AtomicU64,
    pub(super) slot_bytes: AtomicU64,
    pub(super) slot_count: AtomicU64,
    pub(super) pid: AtomicU64,
    /// When the ledger was made, `CLOCK_MONOTONIC`.
    pub(super) started_ns: AtomicU64,

    /// Names that are complete.
    pub(super) names_used: AtomicU64,
    /// One past the highest slot ever taken: a reader needs to look no further.
    pub(super) slots_used: AtomicU64,
    spare: [AtomicU64; 6],

    /// Threads for which there was no slot.
    pub(super) overflow_threads: AtomicU64,
    pub(super) overflow_done: AtomicU64,
    pub(super) overflow_allocated_bytes: AtomicU64,
    pub(super) overflow_freed_bytes: AtomicU64,
    pub(super) overflow_allocations: AtomicU64,
    pub(super) overflow_frees: AtomicU64,
    spare_overflow: [AtomicU64; 2],
}

/// One entry of the name table.
#[repr(C, align(32))]
pub(super) struct Name([AtomicU64; NAME_WORDS]);

impl Name {
    pub(super) fn bytes(&self) -> [u8; NAME_BYTES] {
        let mut bytes = [0; NAME_BYTES];
        for (word, into) in self.0.iter().zip(bytes.chunks_exact_mut(8)) {
            // Relaxed: complete names are published by the release on `names_used`.
            into.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes
    }

    pub(super) fn set(&self, bytes: &[u8; NAME_BYTES]) {
        for (word, from) in self.0.iter().zip(bytes.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(from);
            word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
        }
    }
}

/// What goes into the table for `name`: whole characters up to the limit, no zero byte within.
pub(super) fn encode(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    let mut end = name.len().min(NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
    for byte in &mut bytes[..end] {
        if *byte == 0 {
            *byte = b'?';
        }
    }
    bytes
}

/// The text of a table entry, whatever bytes it holds.
pub(super) fn decode(bytes: &[u8; NAME_BYTES]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Typed views of one segment. All bounds were checked when it was made, against the length of the
/// memory and not against what the header says later.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) header: &'a Header,
    pub(super) names: &'a [Name],
    pub(super) slots: &'a [Slot],
}

/// Why bytes are no ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Senseless {
    Version(u32),
    Because(&'static str),
}

impl<'a> Parts<'a> {
    /// Views of `words` as a segment of exactly the size that fits them. Looks at nothing inside.
    // The alignment is checked before the first cast, and every part is a multiple of it long.
    #[allow(clippy::cast_ptr_alignment)]
    pub(super) fn over(words: &'a [AtomicU64]) -> Option<Parts<'a>> {
        let bytes = size_of_val(words);
        let slots = bytes.checked_sub(segment_bytes(0))?;
        let base = words.as_ptr().cast::<u8>();
        if !slots.is_multiple_of(SLOT_BYTES) || slots / SLOT_BYTES > MOST_SLOTS || !base.addr().is_multiple_of(64) {
            return None;
        }
        // SAFETY: the header's bytes lie within `words`, aligned to 64; it is made of atomics only,
        // for which any bytes are valid, and is borrowed shared for as long as `words` is.
        let header = unsafe { &*base.cast::<Header>() };
        // SAFETY: header and names lie within `words` (`slots` did not underflow).
        let names_at = unsafe { base.add(HEADER_BYTES) };
        // SAFETY: as for the header; HEADER_BYTES is a multiple of the entry's alignment.
        let names = unsafe { std::slice::from_raw_parts(names_at.cast::<Name>(), NAME_CAPACITY) };
        // SAFETY: header and names lie within `words`; at most one past the end, when there are no slots.
        let slots_at = unsafe { base.add(segment_bytes(0)) };
        // SAFETY: as for the header; the rest of `words` is a whole number of slots, and
        // `segment_bytes(0)` is a multiple of 64.
        let slots = unsafe { std::slice::from_raw_parts(slots_at.cast::<Slot>(), slots / SLOT_BYTES) };
        Some(Parts { header, names, slots })
    }

    /// A foreign segment: everything the header claims must be what we would have made.
    pub(super) fn check(words: &'a [AtomicU64]) -> Result<Parts<'a>, Senseless> {
        let parts = Parts::over(words).ok_or(Senseless::Because("its size is not that of a ledger"))?;
        let header = parts.header;
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        // Acquire: the magic is written last, when the rest of the header is there.
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(Senseless::Because("it does not begin with the magic word"));
        }
        let version = read(&header.version);
        if version != u64::from(VERSION) {
            return Err(Senseless::Version(u32::try_from(version).unwrap_or(u32::MAX)));
        }
        if read(&header.header_bytes) != HEADER_BYTES as u64 || read(&header.slot_bytes) != SLOT_BYTES as u64 {
            return Err(Senseless::Because("its header or slot size is not that of its version"));
        }
        if read(&header.name_capacity) != NAME_CAPACITY as u64 {
            return Err(Senseless::Because("its name table is not that of its version"));
        }
        if read(&header.slot_count) != parts.slots.len() as u64 || parts.slots.is_empty() {
            return Err(Senseless::Because("its slot count does not fit its size"));
        }
        Ok(parts)
    }

    /// How many slots a reader has to look at; the header's word is not trusted beyond the slots.
    pub(super) fn slots_used(&self) -> &'a [Slot] {
        // Acquire: pairs with the release by which a claim raised it.
        let used = self.header.slots_used.load(Ordering::Acquire);
        let used = usize::try_from(used).unwrap_or(usize::MAX).min(self.slots.len());
        &self.slots[..used]
    }

    /// The complete names.
    pub(super) fn names_used(&self) -> &'a [Name] {
        // Acquire: pairs with the release in `intern`.
        let used = self.header.names_used.load(Ordering::Acquire);
        let used = usize::try_from(used).unwrap_or(usize::MAX).min(self.names.len());
        &self.names[..used]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = "größe-und-noch-viel-mehr-bytesä-zu-lang";
        let text = decode(&encode(name));
        assert!(text.len() <= NAME_BYTES && name.starts_with(&text), "{text}");
        assert_eq!(decode(&encode("a\0b")), "a?b");
        assert_eq!(decode(&encode("")), "");
        let exact = "x".repeat(NAME_BYTES);
        assert_eq!(decode(&encode(&exact)), exact);
    }

    #[test]
    fn bytes_that_are_no_text_still_give_a_name() {
        assert_eq!(decode(&[0xff; NAME_BYTES]), "\u{fffd}".repeat(NAME_BYTES));
    }
}
