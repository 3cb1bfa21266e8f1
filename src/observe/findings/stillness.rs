//! Which threads have had no turn on a CPU, and since when as far as we saw.
//!
//! Both lists are in tid order, so a look costs one walk along them.

use crate::model::{Nanos, ThreadKey, Tid};

#[derive(Clone, Copy, Debug)]
struct Still {
    key: ThreadKey,
    turns: u64,
    since: Nanos,
}

#[derive(Debug, Default)]
pub(super) struct Stillness(Vec<Still>);

impl Stillness {
    /// `threads` in tid order, each with its turns so far. Who is not among them is forgotten.
    pub fn look(&mut self, threads: impl Iterator<Item = (ThreadKey, u64)>, now: Nanos) {
        let mut before = std::mem::take(&mut self.0).into_iter().peekable();
        for (key, turns) in threads {
            while before.next_if(|still| still.key.tid < key.tid).is_some() {}
            let since = match before.next_if(|still| still.key.tid == key.tid) {
                Some(still) if still.key == key && still.turns == turns => still.since,
                _ => now,
            };
            self.0.push(Still { key, turns, since });
        }
    }

    pub fn since(&self, tid: Tid) -> Option<Nanos> {
        let at = self.0.binary_search_by_key(&tid, |still| still.key.tid).ok()?;
        Some(self.0[at].since)
    }

    /// For how long it has stood; 0 for one that was seen once.
    pub fn stood(&self, tid: Tid, now: Nanos) -> Nanos {
        self.since(tid).map_or(Nanos(0), |since| now.saturating_sub(since))
    }

    /// Those that have stood for `least`, with their turns.
    pub fn standing(&self, least: Nanos, now: Nanos) -> impl Iterator<Item = (ThreadKey, u64)> + '_ {
        self.0
            .iter()
            .filter(move |still| now.saturating_sub(still.since) >= least)
            .map(|still| (still.key, still.turns))
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::key;
    use super::*;

    #[test]
    fn a_new_turn_or_another_thread_with_the_tid_begins_anew() {
        let mut stillness = Stillness::default();
        stillness.look([(key(5), 1), (key(6), 1), (key(7), 1)].into_iter(), Nanos(10));
        let mut reused = key(7);
        reused.start.0 += 1;
        stillness.look([(key(5), 1), (key(6), 2), (reused, 1)].into_iter(), Nanos(20));
        let since = |tid| stillness.since(Tid(tid));
        assert_eq!(
            (since(5), since(6), since(7)),
            (Some(Nanos(10)), Some(Nanos(20)), Some(Nanos(20)))
        );
        let standing: Vec<_> = stillness.standing(Nanos(10), Nanos(20)).collect();
        assert_eq!(standing, [(key(5), 1)]);
        assert_eq!(stillness.stood(Tid(5), Nanos(25)), Nanos(15));
        assert_eq!(stillness.stood(Tid(99), Nanos(25)), Nanos(0));
        stillness.look([(key(6), 2)].into_iter(), Nanos(30));
        assert_eq!(
            (stillness.since(Tid(5)), stillness.since(Tid(6))),
            (None, Some(Nanos(20)))
        );
    }
}
