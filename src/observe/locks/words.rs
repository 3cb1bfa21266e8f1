//! Bytes around the words that threads wait at, copied in as few calls as it takes.
//!
//! A [`Window`] is what lies around one futex word: enough before and behind it for every lock whose
//! shape we know. Nothing in it is trusted; a word outside it is not there.

use std::collections::HashMap;

use crate::kernel::process_vm::{self, Piece};
use crate::model::Pid;

/// Before the word: the old condition variable's second signal word lies 44 bytes into it.
pub(super) const BEFORE: u64 = 64;
/// From the word on: a reader-writer lock's flags lie 48 bytes into it.
pub(super) const BEHIND: u64 = 64;

/// Reads memory of a process: all of these places (address, bytes), in their order. `None`: not mapped.
pub(super) trait Memory {
    fn read(&self, places: &[(u64, usize)]) -> Vec<Option<Vec<u8>>>;
}

/// A living process' memory.
pub(super) struct Live(pub Pid);

impl Memory for Live {
    fn read(&self, places: &[(u64, usize)]) -> Vec<Option<Vec<u8>>> {
        let mut space: Vec<Vec<u8>> = places.iter().map(|(_, length)| vec![0; *length]).collect();
        let mut pieces: Vec<Piece<'_>> = places
            .iter()
            .zip(&mut space)
            .map(|((address, _), into)| Piece::new(*address, into))
            .collect();
        // It has ended, or may not be read: nothing of it is known.
        let all = process_vm::read_many(self.0, &mut pieces).is_ok();
        let whole: Vec<bool> = pieces.iter().map(|piece| piece.copied == piece.into.len()).collect();
        let one = |(bytes, whole)| (all && whole).then_some(bytes);
        space.into_iter().zip(whole).map(one).collect()
    }
}

/// Some bytes of a process, at the address where they lie there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub start: u64,
    pub bytes: Vec<u8>,
}

impl Window {
    pub fn u32(&self, address: u64) -> Option<u32> {
        Some(u32::from_le_bytes(*self.from(address)?.first_chunk()?))
    }

    pub fn u64(&self, address: u64) -> Option<u64> {
        Some(u64::from_le_bytes(*self.from(address)?.first_chunk()?))
    }

    fn from(&self, address: u64) -> Option<&[u8]> {
        self.bytes
            .get(usize::try_from(address.checked_sub(self.start)?).ok()?..)
    }
}

/// The windows around these words. A word whose memory cannot be read has none; one at the edge of
/// what is mapped has a shorter one.
pub(super) fn around(memory: &dyn Memory, words: &[u64]) -> HashMap<u64, Window> {
    let mut found = HashMap::with_capacity(words.len());
    let mut missing = Vec::new();
    let places: Vec<_> = words
        .iter()
        .map(|word| (word.saturating_sub(BEFORE), (BEFORE + BEHIND) as usize))
        .collect();
    for ((word, (start, _)), bytes) in words.iter().zip(&places).zip(memory.read(&places)) {
        match bytes {
            Some(bytes) => {
                found.insert(*word, Window { start: *start, bytes });
            }
            None => missing.push(*word),
        }
    }
    // At the edge of a mapping: what lies on the word's own page.
    let places: Vec<_> = missing.iter().map(|word| on_its_page(*word)).collect();
    for ((word, (start, _)), bytes) in missing.iter().zip(&places).zip(memory.read(&places)) {
        if let Some(bytes) = bytes {
            found.insert(*word, Window { start: *start, bytes });
        }
    }
    found
}

fn on_its_page(word: u64) -> (u64, usize) {
    const PAGE: u64 = 4096;
    let page = word & !(PAGE - 1);
    let start = word.saturating_sub(BEFORE).max(page);
    // An address is any number, the last one too.
    let end = word.saturating_add(BEHIND).min((page | (PAGE - 1)).saturating_add(1));
    (start, (end - start) as usize)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A stretch of memory that a test made.
    pub(in super::super) struct Made {
        pub start: u64,
        pub bytes: Vec<u8>,
    }

    impl Memory for Made {
        fn read(&self, places: &[(u64, usize)]) -> Vec<Option<Vec<u8>>> {
            let one = |(address, length): &(u64, usize)| {
                let at = usize::try_from(address.checked_sub(self.start)?).ok()?;
                Some(self.bytes.get(at..at.checked_add(*length)?)?.to_vec())
            };
            places.iter().map(one).collect()
        }
    }

    #[test]
    fn a_word_at_the_edge_of_what_is_mapped_has_a_shorter_window() {
        let memory = Made {
            start: 0x1000,
            bytes: (0..4096u32).map(|at| at as u8).collect(),
        };
        let found = around(&memory, &[0x1000, 0x1800, 0x1ffc, 0x3000, u64::MAX - 3]);
        assert_eq!(found[&0x1000].bytes.len(), 64);
        assert_eq!(found[&0x1800].bytes.len(), 128);
        assert_eq!((found[&0x1ffc].start, found[&0x1ffc].bytes.len()), (0x1fbc, 68));
        assert_eq!(found.len(), 3);
        assert_eq!(found[&0x1800].u32(0x1804), Some(0x0706_0504));
        assert_eq!(found[&0x1ffc].u32(0x1ffd), None);
        assert_eq!(found[&0x1ffc].u64(0x1ff8), Some(0xfffe_fdfc_fbfa_f9f8));
        assert_eq!(found[&0x1000].u32(0), None);
    }
}
