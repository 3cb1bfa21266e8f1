//! The bytes that a walk needs: the thread's stack, and the code around return addresses.
//!
//! A first window of each stack has been copied with those of many threads. What lies outside of it is
//! fetched when a walk gets there, in pieces that grow, up to a bound.

use crate::kernel::process_vm;
use crate::model::Pid;

/// What a walk reads.
pub(super) trait Memory {
    /// Eight bytes of a stack.
    fn word(&mut self, address: u64) -> Option<u64>;
    /// Bytes of code or of a table; false when they cannot all be read.
    fn code(&mut self, address: u64, into: &mut [u8]) -> bool;
}

const FIRST_FETCH: usize = 16 << 10;
const LONGEST_FETCH: usize = 256 << 10;
/// No stack is read further.
const MOST_FETCHED: usize = 16 << 20;

/// Who lets us read more than what was copied.
#[derive(Clone, Copy, Debug)]
pub(super) enum More {
    /// The thread is blocked: this living thread of its process shows us its memory.
    Through(Pid),
    /// The thread runs on, so its stack is no longer what it was; its code is.
    CodeOnly(Pid),
}

/// One thread's stack.
#[derive(Debug)]
pub(super) struct Reach<'a> {
    start: u64,
    window: &'a [u8],
    fetched: Vec<(u64, Vec<u8>)>,
    next_fetch: usize,
    total: usize,
    more: More,
}

impl<'a> Reach<'a> {
    pub fn new(start: u64, window: &'a [u8], more: More) -> Reach<'a> {
        Reach {
            start,
            window,
            fetched: Vec::new(),
            next_fetch: FIRST_FETCH,
            total: 0,
            more,
        }
    }

    fn fetch(&mut self, address: u64) -> Option<u64> {
        let More::Through(pid) = self.more else { return None };
        if self.total >= MOST_FETCHED {
            return None;
        }
        let mut bytes = vec![0; self.next_fetch];
        let copied = process_vm::read(pid, address, &mut bytes).unwrap_or(0);
        // A refusal is counted too: a walk that asks for one bad address after the other comes to an end.
        self.total += copied.max(4096);
        bytes.truncate(copied);
        let word = word_of(address, &bytes, address)?;
        self.next_fetch = (self.next_fetch * 2).min(LONGEST_FETCH);
        self.fetched.push((address, bytes));
        Some(word)
    }
}

impl Memory for Reach<'_> {
    #[inline]
    fn word(&mut self, address: u64) -> Option<u64> {
        if let Some(word) = word_of(self.start, self.window, address) {
            return Some(word);
        }
        // Walks go on, so the last piece is the likeliest.
        let found = self
            .fetched
            .iter()
            .rev()
            .find_map(|(start, bytes)| word_of(*start, bytes, address));
        found.or_else(|| self.fetch(address))
    }

    fn code(&mut self, address: u64, into: &mut [u8]) -> bool {
        let (More::Through(pid) | More::CodeOnly(pid)) = self.more;
        process_vm::read(pid, address, into).is_ok_and(|copied| copied == into.len())
    }
}

#[inline]
fn word_of(start: u64, bytes: &[u8], address: u64) -> Option<u64> {
    let from = usize::try_from(address.checked_sub(start)?).ok()?;
    let bytes = bytes.get(from..from.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_copied_is_fetched_and_what_is_not_there_is_not() {
        let us = Pid(std::process::id());
        let words: Vec<u64> = (0..10_000).collect();
        let start = words.as_ptr() as u64;
        let window = words[0].to_ne_bytes();
        let mut reach = Reach::new(start, &window, More::Through(us));
        for at in [0, 1, 9_999, 5_000, 1] {
            assert_eq!(reach.word(start + at * 8), Some(at));
        }
        assert_eq!(
            reach.word(start + 4),
            Some(1 << 32),
            "unaligned, across the window's end"
        );
        assert_eq!(reach.word(8), None);
        let mut code = [0; 4];
        assert!(reach.code(start + 8, &mut code) && code == [1, 0, 0, 0]);
        assert!(!reach.code(16, &mut code));
    }

    #[test]
    fn the_stack_of_a_thread_that_runs_is_only_what_was_sampled() {
        let us = Pid(std::process::id());
        let words = [1u64, 2, 3];
        let start = words.as_ptr() as u64;
        let window = words[0].to_ne_bytes();
        let mut reach = Reach::new(start, &window, More::CodeOnly(us));
        assert_eq!(reach.word(start), Some(1));
        assert_eq!(reach.word(start + 8), None);
    }

    #[test]
    fn a_walk_that_asks_for_bad_addresses_ends_by_itself() {
        let mut reach = Reach::new(0, &[], More::Through(Pid(std::process::id())));
        for at in 0..20_000u64 {
            assert_eq!(reach.word(8 + at % 7), None);
        }
        assert!(reach.total <= MOST_FETCHED + 4096);
    }
}
