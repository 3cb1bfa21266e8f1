//! Keeps equal stacks once, and names the places of each address once.
//!
//! Ten thousand threads of a pool stand in a handful of places. A walk's result is looked up by its
//! addresses; only the first of its kind is kept, and only what a thread of the dump refers to gets names.

use std::collections::HashMap;
use std::sync::Arc;

use super::Symbols;
use super::space::AddressSpace;
use super::unwind::RawStack;
use crate::model::{Frame, Pid, Place, Stack, StackSource, Unknown};

/// A stack among those that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Folded(usize);

#[derive(Debug, Default)]
pub(super) struct Fold {
    known: HashMap<RawStack, Folded>,
}

/// What a thread of the dump refers to.
pub(super) type Wanted = (Folded, StackSource, bool);

impl Fold {
    pub fn add(&mut self, stack: RawStack) -> Folded {
        let next = Folded(self.known.len());
        *self.known.entry(stack).or_insert(next)
    }

    /// The stacks that are wanted, each once, with names if `symbols` are given. `wanted` says of each its
    /// source and whether its thread moved.
    pub fn stacks(
        self,
        wanted: impl Iterator<Item = Wanted>,
        symbols: Option<&Symbols>,
        pid: Pid,
        space: &AddressSpace,
    ) -> HashMap<Wanted, Arc<Stack>> {
        let mut raw: Vec<Option<RawStack>> = vec![None; self.known.len()];
        for (stack, Folded(at)) in self.known {
            raw[at] = Some(stack);
        }
        let mut stacks: HashMap<Wanted, Option<Arc<Stack>>> = HashMap::new();
        let mut addresses: Vec<(u64, bool)> = Vec::new();
        let mut place_of: HashMap<(u64, bool), usize> = HashMap::new();
        for one in wanted {
            if stacks.insert(one, None).is_none()
                && let Some(stack) = &raw[one.0.0]
            {
                for frame in &stack.frames {
                    place_of.entry((frame.address, frame.after_call)).or_insert_with(|| {
                        addresses.push((frame.address, frame.after_call));
                        addresses.len() - 1
                    });
                }
            }
        }
        let places = match symbols {
            Some(symbols) => symbols.places(pid, space, &addresses),
            None => addresses.iter().map(|(address, _)| bare(space, *address)).collect(),
        };
        let folded = |(Folded(at), source, moved): Wanted| {
            let stack = raw[at].as_ref()?;
            let frames = stack.frames.iter().map(|frame| Frame {
                place: Arc::clone(&places[place_of[&(frame.address, frame.after_call)]]),
                trust: frame.trust,
            });
            Some(Arc::new(Stack {
                frames: frames.collect(),
                end: stack.end,
                source,
                moved,
            }))
        };
        let stacks = stacks.into_keys().filter_map(|one| Some((one, folded(one)?)));
        stacks.collect()
    }
}

/// A place without names.
fn bare(space: &AddressSpace, address: u64) -> Arc<Place> {
    let mapped = space.find(address).filter(|mapped| !mapped.name.is_empty());
    Arc::new(Place {
        address,
        module: mapped.map(|mapped| Arc::clone(&mapped.name)),
        module_address: mapped.map_or(0, |mapped| address.wrapping_sub(mapped.bias)),
        functions: Err(Unknown::NotAsked),
        function_offset: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::ModuleCache;
    use super::super::unwind::RawFrame;
    use super::*;
    use crate::kernel::ProcRoot;
    use crate::model::{StackEnd, Trust};

    fn stack(addresses: &[u64], end: StackEnd) -> RawStack {
        RawStack {
            frames: addresses
                .iter()
                .map(|address| RawFrame {
                    address: *address,
                    after_call: true,
                    trust: Trust::Unwound,
                })
                .collect(),
            end,
        }
    }

    #[test]
    fn equal_stacks_are_one_and_share_their_places() {
        let root = ProcRoot::live();
        let us = Pid(std::process::id());
        let space = AddressSpace::read(&root, us, &ModuleCache::default()).unwrap();
        let mut fold = Fold::default();
        let one = fold.add(stack(&[1, 2, 3], StackEnd::Complete));
        let other = fold.add(stack(&[1, 2], StackEnd::NoModule));
        let nobodys = fold.add(stack(&[7], StackEnd::Complete));
        assert_eq!(fold.add(stack(&[1, 2, 3], StackEnd::Complete)), one);
        assert_ne!(fold.add(stack(&[1, 2, 3], StackEnd::MaxDepth)), one);
        let wanted = [
            (one, StackSource::Syscall, false),
            (other, StackSource::Sample, false),
            (one, StackSource::Syscall, false),
            (one, StackSource::Syscall, true),
        ];
        let stacks = fold.stacks(wanted.into_iter(), None, us, &space);
        assert_eq!(stacks.len(), 3);
        assert!(!stacks.keys().any(|(stack, ..)| *stack == nobodys));
        let (stood, moved) = (&stacks[&wanted[0]], &stacks[&wanted[3]]);
        assert!(!stood.moved && moved.moved);
        assert_eq!(stood.frames, moved.frames);
        let shared = &stacks[&wanted[1]].frames[0].place;
        assert!(Arc::ptr_eq(shared, &stood.frames[0].place));
        assert_eq!((shared.address, &shared.functions), (1, &Err(Unknown::NotAsked)));
    }
}
