//! What is kept, bounded in bytes: when it is too much, what was used longest ago goes first.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

/// A kept value with what it takes and when it was asked for last.
#[derive(Debug)]
struct Kept<V> {
    value: V,
    bytes: usize,
    used: u64,
}

#[derive(Debug)]
struct State<K, V> {
    kept: HashMap<K, Kept<V>>,
    bytes: usize,
    now: u64,
}

/// A map that forgets. Shared by all who ask.
#[derive(Debug)]
pub(in crate::observe::stacks) struct Bounded<K, V> {
    most_bytes: usize,
    state: Mutex<State<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Bounded<K, V> {
    pub fn new(most_bytes: usize) -> Bounded<K, V> {
        Bounded {
            most_bytes,
            state: Mutex::new(State {
                kept: HashMap::new(),
                bytes: 0,
                now: 0,
            }),
        }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        let mut state = self.state.lock();
        state.now += 1;
        let now = state.now;
        let kept = state.kept.get_mut(key)?;
        kept.used = now;
        Some(kept.value.clone())
    }

    /// Keeps it, and forgets others for it. What alone is more than all may take is not kept.
    pub fn put(&self, key: K, value: V, bytes: usize) {
        // An entry of the map itself takes some room too.
        let bytes = bytes.saturating_add(size_of::<(K, Kept<V>)>());
        if bytes > self.most_bytes {
            return;
        }
        let mut state = self.state.lock();
        state.now += 1;
        let used = state.now;
        let before = state.kept.insert(key, Kept { value, bytes, used });
        state.bytes = state.bytes + bytes - before.map_or(0, |before| before.bytes);
        if state.bytes > self.most_bytes {
            state.forget(self.most_bytes - self.most_bytes / 4, used);
        }
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl<K: Hash + Eq + Clone, V> State<K, V> {
    /// A quarter goes at once, so that the search for the oldest is not made for each one.
    fn forget(&mut self, enough: usize, newest: u64) {
        let mut by_age: Vec<(u64, K)> = self.kept.iter().map(|(key, kept)| (kept.used, key.clone())).collect();
        by_age.sort_unstable_by_key(|(used, _)| *used);
        for (used, key) in by_age {
            if self.bytes <= enough || used == newest {
                break;
            }
            if let Some(gone) = self.kept.remove(&key) {
                self.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_bound_holds() {
        let kept = Bounded::new(10_000);
        for n in 0..1000u32 {
            kept.put(n, n, 100);
            assert!(kept.bytes() <= 10_000);
            // Asked for again and again.
            assert_eq!(kept.get(&0), Some(0));
            assert_eq!(kept.get(&n), Some(n));
        }
        assert_eq!(kept.get(&1), None);
    }

    #[test]
    fn what_is_put_again_counts_once() {
        let kept = Bounded::new(10_000);
        for n in 0..1000 {
            kept.put("same", n, 100);
        }
        assert!(kept.bytes() < 300);
        assert_eq!(kept.get(&"same"), Some(999));
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_drives_nothing_out() {
        let kept = Bounded::new(1000);
        kept.put(1, 1, 100);
        kept.put(2, 2, 1000);
        assert_eq!((kept.get(&1), kept.get(&2)), (Some(1), None));
    }
}
