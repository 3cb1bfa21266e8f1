//! Follows each waiter to where its waiting ends. One pass, no recursion: pure numbers.

/// Where following `next` leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// The last edge on the way: its owner does not wait, or is not known.
    Edge(usize),
    /// A place in [`Walk::cycles`].
    Cycle(usize),
}

/// The outcome for a whole graph.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Walk {
    /// Each in the order of its edges, beginning anywhere.
    pub cycles: Vec<Vec<usize>>,
    /// For each edge.
    pub ends: Vec<End>,
    /// Edges on the way, its own included. 0 within a cycle; of who waits behind one, those outside it.
    pub depths: Vec<u32>,
}

#[derive(Clone, Copy)]
enum Mark {
    New,
    /// A place on the path that is being followed.
    OnPath(usize),
    Done,
}

/// `next[n]` is the edge that follows edge `n`; a number that is none ends the way.
pub(super) fn follow(next: &[Option<usize>]) -> Walk {
    let count = next.len();
    let mut marks = vec![Mark::New; count];
    let mut walk = Walk {
        cycles: Vec::new(),
        ends: (0..count).map(End::Edge).collect(),
        depths: vec![0; count],
    };
    let mut path = Vec::new();
    for start in 0..count {
        path.clear();
        let mut at = start;
        // Each edge is put on a path once: the marks bound the loop.
        let (end, mut depth) = loop {
            match marks[at] {
                Mark::Done => break (walk.ends[at], walk.depths[at]),
                Mark::OnPath(from) => {
                    let cycle = path.split_off(from);
                    let end = End::Cycle(walk.cycles.len());
                    for member in &cycle {
                        marks[*member] = Mark::Done;
                        walk.ends[*member] = end;
                    }
                    walk.cycles.push(cycle);
                    break (end, 0);
                }
                Mark::New => {}
            }
            marks[at] = Mark::OnPath(path.len());
            path.push(at);
            match next[at].filter(|next| *next < count) {
                Some(next) => at = next,
                None => break (End::Edge(at), 0),
            }
        };
        while let Some(back) = path.pop() {
            depth += 1;
            marks[back] = Mark::Done;
            walk.ends[back] = end;
            walk.depths[back] = depth;
        }
    }
    walk
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_chain_has_the_depth_of_its_edges() {
        let walk = follow(&[Some(1), Some(2), None, Some(2)]);
        assert_eq!(walk.depths, [3, 2, 1, 2]);
        assert_eq!(walk.ends, [End::Edge(2); 4]);
        assert!(walk.cycles.is_empty());
    }

    #[test]
    fn an_edge_to_itself_is_a_cycle_of_one() {
        let walk = follow(&[Some(0), Some(0)]);
        assert_eq!(walk.cycles, [vec![0]]);
        assert_eq!(walk.depths, [0, 1]);
    }

    #[test]
    fn ten_thousand_in_one_chain_are_followed_without_recursion() {
        let next: Vec<Option<usize>> = (0..10_000).map(|n| (n + 1 < 10_000).then_some(n + 1)).collect();
        assert_eq!(follow(&next).depths[0], 10_000);
    }

    /// Slow and plain: walks from `start` until something repeats or ends.
    fn naive(next: &[Option<usize>], start: usize) -> (Vec<usize>, Option<BTreeSet<usize>>) {
        let mut way = vec![start];
        while let Some(on) = next[*way.last().unwrap()].filter(|on| *on < next.len()) {
            if let Some(from) = way.iter().position(|seen| *seen == on) {
                let cycle = way[from..].iter().copied().collect();
                return (way, Some(cycle));
            }
            way.push(on);
        }
        (way, None)
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_naive_walk(
            next in prop::collection::vec(prop::option::weighted(0.9, 0_usize..40), 0..36)
        ) {
            let walk = follow(&next);
            let mut expected = BTreeSet::new();
            for start in 0..next.len() {
                let (way, cycle) = naive(&next, start);
                match (cycle, walk.ends[start]) {
                    (Some(cycle), End::Cycle(place)) => {
                        let found: BTreeSet<usize> = walk.cycles[place].iter().copied().collect();
                        prop_assert_eq!(&found, &cycle);
                        let outside = way.iter().filter(|at| !cycle.contains(at)).count();
                        prop_assert_eq!(walk.depths[start] as usize, outside);
                        expected.insert(cycle);
                    }
                    (None, End::Edge(last)) => {
                        prop_assert_eq!(way.last(), Some(&last));
                        prop_assert_eq!(walk.depths[start] as usize, way.len());
                    }
                    (cycle, end) => prop_assert!(false, "{start}: {cycle:?} but {end:?}"),
                }
            }
            // Each once, and each in the order of its edges.
            prop_assert_eq!(walk.cycles.len(), expected.len());
            for cycle in &walk.cycles {
                for (n, at) in cycle.iter().enumerate() {
                    prop_assert_eq!(next[*at], Some(cycle[(n + 1) % cycle.len()]));
                }
            }
        }
    }
}
