//! Who sends what to whom in which step: the four algorithms as programs, one for each rank.
//!
//! A program is all an algorithm is: threads, processes and the count of sent elements follow the
//! same one. Both ends of a message name it by the same step number, and what is received is
//! combined in the order the program says, so every element has one order of reduction.

use std::ops::Range;

/// How participants exchange their rows. N is the number of ranks, P the greatest power of two
/// that is at most N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Reduce-scatter and allgather around a ring (Patarasuk and Yuan 2009): 2(N-1) steps, in each
    /// of which a rank sends one chunk of N to its right neighbour. Chunk c is reduced in the order
    /// c, c+1, …, c+N-1 (mod N) and is finished by rank c-1.
    Ring,
    /// Recursive halving, then recursive doubling (Rabenseifner 2004): 2 log2 P steps, and two more
    /// when N is no power of two: rank P+i then hands its row to rank i before and gets the result
    /// after. Values are reduced pairwise at distances P/2, P/4, …, 1, after i with P+i.
    HalvingDoubling,
    /// Up and down a binary tree with rank 0 at its root: 2 ceil(log2 N) steps. Values are reduced
    /// in pairs of neighbours (0 1)(2 3)…, then pairs of pairs.
    Tree,
    /// Everyone sends all of its row to everyone, who reduces in the order of ranks 0, 1, …, N-1:
    /// N-1 steps.
    Direct,
}

impl Algorithm {
    pub const ALL: [Algorithm; 4] = [
        Algorithm::Ring,
        Algorithm::HalvingDoubling,
        Algorithm::Tree,
        Algorithm::Direct,
    ];
    pub const NAMES: [&'static str; 4] = ["ring", "halving_doubling", "tree", "direct"];

    /// As cases, parameters and the command line have it.
    pub fn name(self) -> &'static str {
        Algorithm::NAMES[self as usize]
    }

    pub fn named(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// How two values become one. All of them commute to the bit (the payload of a NaN aside), so only
/// the order in which values are grouped matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Sum,
    /// As IEEE 754-2019's minimum: NaN when there is one, and -0 is less than +0.
    Min,
    /// As IEEE 754-2019's maximum: NaN when there is one, and +0 is greater than -0.
    Max,
    Prod,
    /// The sum, divided by the number of ranks at the end.
    Mean,
}

impl Op {
    pub const ALL: [Op; 5] = [Op::Sum, Op::Min, Op::Max, Op::Prod, Op::Mean];
    pub const NAMES: [&'static str; 5] = ["sum", "min", "max", "prod", "mean"];

    /// As cases, parameters and the command line have it.
    pub fn name(self) -> &'static str {
        Op::NAMES[self as usize]
    }

    pub fn named(name: &str) -> Option<Op> {
        Op::ALL.into_iter().find(|op| op.name() == name)
    }
}

/// What an operation cost in messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Rounds in which everyone may send.
    pub steps: usize,
    /// By each rank.
    pub sent_elements: Vec<u64>,
}

/// Chunk `c` of `elements` cut for so many ranks: [floor(n c / N), floor(n (c + 1) / N)).
pub fn chunk(elements: usize, ranks: usize, c: usize) -> Range<usize> {
    let at = |c: usize| (elements as u128 * c as u128 / ranks.max(1) as u128) as usize;
    at(c)..at(c + 1)
}

/// The chunk that is finished by this rank in a ring's reduce-scatter.
pub fn kept_chunk(ranks: usize, rank: usize) -> usize {
    (rank + 1) % ranks.max(1)
}

/// One end of a message: the other end and which elements of the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) peer: usize,
    pub(super) range: Range<usize>,
}

/// What becomes of received elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Combined with our own. `last`: nothing more comes to them, so a mean divides now.
    Reduce { last: bool },
    /// They are results.
    Copy,
    /// Kept as they are until everyone's are there.
    Keep,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) send: Option<Transfer>,
    pub(super) receive: Option<(Transfer, Take)>,
}

/// What `rank` does, step by step. Empty messages are left out.
pub(super) fn program(algorithm: Algorithm, ranks: usize, rank: usize, elements: usize) -> Vec<Step> {
    let mut steps = match algorithm {
        Algorithm::Ring => ring(ranks, rank, elements),
        Algorithm::HalvingDoubling => halving_doubling(ranks, rank, elements),
        Algorithm::Tree => tree(ranks, rank, elements),
        Algorithm::Direct => direct(ranks, rank, elements),
    };
    for step in &mut steps {
        step.send = step.send.take().filter(|send| !send.range.is_empty());
        step.receive = step.receive.take().filter(|(from, _)| !from.range.is_empty());
    }
    steps
}

fn ring(ranks: usize, rank: usize, elements: usize) -> Vec<Step> {
    let (left, right) = ((rank + ranks - 1) % ranks, (rank + 1) % ranks);
    let around = |first: usize, take: fn(bool) -> Take| {
        (0..ranks - 1).map(move |step| {
            let sent = (first + ranks - step) % ranks;
            let received = (sent + ranks - 1) % ranks;
            Step {
                send: Some(Transfer {
                    peer: right,
                    range: chunk(elements, ranks, sent),
                }),
                receive: Some((
                    Transfer {
                        peer: left,
                        range: chunk(elements, ranks, received),
                    },
                    take(step + 2 == ranks),
                )),
            }
        })
    };
    let scatter = around(rank, |last| Take::Reduce { last });
    scatter.chain(around(kept_chunk(ranks, rank), |_| Take::Copy)).collect()
}

fn halving_doubling(ranks: usize, rank: usize, elements: usize) -> Vec<Step> {
    let core = 1 << ranks.ilog2();
    let whole = |peer: usize| Transfer {
        peer,
        range: 0..elements,
    };
    let mut steps = Vec::new();
    let folded = core < ranks;
    if folded {
        steps.push(Step {
            send: (rank >= core).then(|| whole(rank - core)),
            receive: (rank + core < ranks).then(|| (whole(rank + core), Take::Reduce { last: false })),
        });
    }
    // The chunks of the core that this rank still works on; halved at each step.
    let (mut first, mut count) = (0, core);
    let mut doubling = Vec::new();
    while count > 1 {
        let distance = count / 2;
        count = distance;
        if rank >= core {
            steps.push(Step::default());
            doubling.push(Step::default());
            continue;
        }
        let peer = rank ^ distance;
        let (low, high) = (first..first + count, first + count..first + 2 * count);
        let (ours, theirs) = if rank & distance == 0 { (low, high) } else { (high, low) };
        first = ours.start;
        let elements_of = |chunks: Range<usize>| Transfer {
            peer,
            range: chunk(elements, core, chunks.start).start..chunk(elements, core, chunks.end - 1).end,
        };
        steps.push(Step {
            send: Some(elements_of(theirs.clone())),
            receive: Some((elements_of(ours.clone()), Take::Reduce { last: count == 1 })),
        });
        // The way back: what we kept here we have by then, and lack what the other kept.
        doubling.push(Step {
            send: Some(elements_of(ours)),
            receive: Some((elements_of(theirs), Take::Copy)),
        });
    }
    steps.extend(doubling.into_iter().rev());
    if folded {
        steps.push(Step {
            send: (rank + core < ranks).then(|| whole(rank + core)),
            receive: (rank >= core).then(|| (whole(rank - core), Take::Copy)),
        });
    }
    steps
}

fn tree(ranks: usize, rank: usize, elements: usize) -> Vec<Step> {
    let levels = ranks.next_power_of_two().ilog2();
    let whole = |peer: usize| Transfer {
        peer,
        range: 0..elements,
    };
    let mut up = Vec::new();
    let mut down = Vec::new();
    for level in 0..levels {
        let distance = 1 << level;
        let place = rank % (2 * distance);
        let parent = (place == distance).then(|| rank - distance);
        let child = (place == 0 && rank + distance < ranks).then_some(rank + distance);
        let last = level + 1 == levels;
        up.push(Step {
            send: parent.map(whole),
            receive: child.map(|child| (whole(child), Take::Reduce { last })),
        });
        down.push(Step {
            send: child.map(whole),
            receive: parent.map(|parent| (whole(parent), Take::Copy)),
        });
    }
    up.extend(down.into_iter().rev());
    up
}

fn direct(ranks: usize, rank: usize, elements: usize) -> Vec<Step> {
    (1..ranks)
        .map(|distance| Step {
            send: Some(Transfer {
                peer: (rank + distance) % ranks,
                range: 0..elements,
            }),
            receive: Some((
                Transfer {
                    peer: (rank + ranks - distance) % ranks,
                    range: 0..elements,
                },
                Take::Keep,
            )),
        })
        .collect()
}

/// What each rank sends, counted message by message.
pub fn traffic(algorithm: Algorithm, ranks: usize, elements: usize) -> Traffic {
    let mut traffic = Traffic::default();
    for rank in 0..ranks {
        let steps = program(algorithm, ranks, rank, elements);
        traffic.steps = steps.len();
        let sent = steps.iter().filter_map(|step| step.send.as_ref());
        traffic
            .sent_elements
            .push(sent.map(|send| send.range.len() as u64).sum());
    }
    traffic
}

/// The order of reduction of the elements in one chunk, as a program for a stack of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// A rank's value goes on the stack.
    Push(usize),
    /// The top is combined with a rank's value.
    With(usize),
    /// The top is combined into the one below it.
    Merge,
}

/// The order in which the algorithm reduces the elements of ring chunk `c` (the other algorithms
/// have one order for all elements).
pub(super) fn grouping(algorithm: Algorithm, ranks: usize, c: usize) -> Vec<Grouping> {
    let mut order = Vec::with_capacity(2 * ranks);
    match algorithm {
        Algorithm::Ring => {
            order.push(Grouping::Push(c));
            order.extend((1..ranks).map(|hop| Grouping::With((c + hop) % ranks)));
        }
        Algorithm::Direct => {
            order.push(Grouping::Push(0));
            order.extend((1..ranks).map(Grouping::With));
        }
        Algorithm::HalvingDoubling => halves(1 << ranks.ilog2(), ranks, 0, 1, &mut order),
        Algorithm::Tree => pairs(ranks, 0, ranks.next_power_of_two(), &mut order),
    }
    // A value that is pushed only to be merged need not be copied first.
    let mut short: Vec<Grouping> = Vec::with_capacity(order.len());
    for next in order {
        match (next, short.last()) {
            (Grouping::Merge, Some(&Grouping::Push(rank))) => {
                short.pop();
                short.push(Grouping::With(rank));
            }
            _ => short.push(next),
        }
    }
    short
}

/// Ranks `first`, `first + distance`, `first + 2 distance`, … of the core.
fn halves(core: usize, ranks: usize, first: usize, distance: usize, order: &mut Vec<Grouping>) {
    if distance == core {
        order.push(Grouping::Push(first));
        if first + core < ranks {
            order.push(Grouping::With(first + core));
        }
        return;
    }
    halves(core, ranks, first, 2 * distance, order);
    halves(core, ranks, first + distance, 2 * distance, order);
    order.push(Grouping::Merge);
}

/// `count` ranks from `first` on, as far as there are any.
fn pairs(ranks: usize, first: usize, count: usize, order: &mut Vec<Grouping>) {
    if count == 1 {
        order.push(Grouping::Push(first));
        return;
    }
    pairs(ranks, first, count / 2, order);
    if first + count / 2 < ranks {
        pairs(ranks, first + count / 2, count / 2, order);
        order.push(Grouping::Merge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_lie_side_by_side_and_differ_by_one_at_most() {
        for (elements, ranks) in [(0, 3), (1, 4), (10, 3), (17, 5), (64, 8), (7, 1)] {
            let chunks: Vec<_> = (0..ranks).map(|c| chunk(elements, ranks, c)).collect();
            assert_eq!(chunks[0].start, 0);
            assert_eq!(chunks[ranks - 1].end, elements);
            assert!(chunks.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(
                chunks
                    .iter()
                    .all(|chunk| chunk.len() == elements / ranks || chunk.len() == elements.div_ceil(ranks))
            );
        }
        assert_eq!(chunk(10, 4, 1), 2..5);
    }

    #[test]
    fn both_ends_of_a_message_know_it_by_the_same_step() {
        for algorithm in Algorithm::ALL {
            for ranks in 1..=17 {
                for elements in [0, 1, 5, 64, 1000] {
                    let programs: Vec<_> = (0..ranks)
                        .map(|rank| program(algorithm, ranks, rank, elements))
                        .collect();
                    for (rank, steps) in programs.iter().enumerate() {
                        assert_eq!(steps.len(), programs[0].len());
                        for (number, step) in steps.iter().enumerate() {
                            if let Some(send) = &step.send {
                                let (from, _) = programs[send.peer][number].receive.as_ref().unwrap();
                                assert_eq!((from.peer, &from.range), (rank, &send.range));
                                assert_ne!(send.peer, rank);
                            }
                            if let Some((from, _)) = &step.receive {
                                let send = programs[from.peer][number].send.as_ref().unwrap();
                                assert_eq!((send.peer, &send.range), (rank, &from.range));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_ring_sends_every_chunk_but_one_each_time_round() {
        for (elements, ranks) in [(12, 4), (10, 4), (3, 5), (1000, 7)] {
            let traffic = traffic(Algorithm::Ring, ranks, elements);
            assert_eq!(traffic.steps, 2 * (ranks - 1));
            for (rank, sent) in traffic.sent_elements.iter().enumerate() {
                let spared = [1, 2].map(|after| chunk(elements, ranks, (rank + after) % ranks).len());
                assert_eq!(*sent as usize, 2 * elements - spared[0] - spared[1]);
            }
        }
        // Where the length divides, that is 2 (N - 1) / N of it.
        assert_eq!(traffic(Algorithm::Ring, 4, 12).sent_elements, [18; 4]);
    }

    #[test]
    fn steps_are_as_many_as_the_papers_say() {
        let steps = |algorithm, ranks| traffic(algorithm, ranks, 100).steps;
        for (ranks, ring, halving, tree, direct) in [
            (1, 0, 0, 0, 0),
            (2, 2, 2, 2, 1),
            (3, 4, 4, 4, 2),
            (4, 6, 4, 4, 3),
            (6, 10, 6, 6, 5),
            (8, 14, 6, 6, 7),
        ] {
            assert_eq!(steps(Algorithm::Ring, ranks), ring);
            assert_eq!(steps(Algorithm::HalvingDoubling, ranks), halving);
            assert_eq!(steps(Algorithm::Tree, ranks), tree);
            assert_eq!(steps(Algorithm::Direct, ranks), direct);
        }
        assert_eq!(traffic(Algorithm::HalvingDoubling, 4, 12).sent_elements, [18; 4]);
        assert_eq!(traffic(Algorithm::Tree, 4, 12).sent_elements, [24, 12, 24, 12]);
        assert_eq!(traffic(Algorithm::Direct, 4, 12).sent_elements, [36; 4]);
    }
}
