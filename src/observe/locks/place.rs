//! Where a lock lies: a variable of a module, the heap, a thread's stack, shared memory.
//!
//! The process' mappings tell most of it, symbol tables the names of variables. Whose stack a mapping is,
//! stack pointers tell (`call`), and the threads library's own control block at the upper end, which also
//! knows where one stack ends that the kernel has merged with the next.

use std::collections::HashMap;
use std::sync::Arc;

use super::words::Memory;
use crate::model::{Dump, LockPlace, Tid};
use crate::observe::control_block;
use crate::observe::stacks::{Mapped, Variable};

/// Stacks of one mapping that are looked at. A program without guards may have all of them in one.
const MOST_STACKS: usize = 1024;
/// How far below the upper end of a stack the control block lies at most (2 368 bytes and alignment).
const BLOCK_ROOM: u64 = 2432;

pub(super) struct Places<'a> {
    mappings: &'a [Mapped],
    variable: &'a dyn Fn(u64) -> Option<Variable>,
    memory: &'a dyn Memory,
    main: Tid,
    by_own: HashMap<u32, Tid>,
    /// Stack pointers with their threads, in address order.
    pointers: Vec<(u64, Tid)>,
    /// For each mapping that was asked for, by its start.
    stacks: HashMap<u64, Vec<(u64, u64, Tid)>>,
}

impl<'a> Places<'a> {
    /// `mappings` in address order; `variable` names the variable of a module at an address.
    pub fn new(
        dump: &Dump,
        mappings: &'a [Mapped],
        variable: &'a dyn Fn(u64) -> Option<Variable>,
        memory: &'a dyn Memory,
    ) -> Places<'a> {
        let mut pointers: Vec<_> = dump
            .threads
            .iter()
            .filter_map(|thread| Some((thread.call.as_ref().ok()?.stack_pointer, thread.tid())))
            .collect();
        pointers.sort_unstable();
        Places {
            mappings,
            variable,
            memory,
            main: Tid(dump.process.pid.0),
            by_own: dump
                .threads
                .iter()
                .map(|thread| (thread.own_tid.0, thread.tid()))
                .collect(),
            pointers,
            stacks: HashMap::new(),
        }
    }

    pub fn of(&mut self, address: u64) -> LockPlace {
        let at = self.mappings.partition_point(|mapped| mapped.end <= address);
        let Some(mapped) = self.mappings.get(at).filter(|mapped| mapped.start <= address) else {
            return LockPlace::Unknown;
        };
        let name = &mapped.name;
        if mapped.shared {
            return LockPlace::SharedMemory {
                name: if name.is_empty() {
                    Arc::from("anonymous")
                } else {
                    Arc::clone(name)
                },
                offset: address - mapped.start,
            };
        }
        match &**name {
            "[heap]" => return LockPlace::Heap,
            "[stack]" => return LockPlace::Stack { tid: self.main },
            _ => {}
        }
        if let Some(variable) = (self.variable)(address) {
            return LockPlace::Global {
                module: variable.module,
                symbol: variable.name,
                offset: variable.offset,
            };
        }
        if !name.is_empty() && !name.starts_with("[anon:") {
            return LockPlace::Mapping {
                name: Arc::clone(name),
                offset: address - mapped.start,
            };
        }
        self.in_anonymous(mapped, address)
    }

    /// A stack, or the heap, which is all the rest.
    fn in_anonymous(&mut self, mapped: &Mapped, address: u64) -> LockPlace {
        let stacks = self.stacks.entry(mapped.start).or_insert_with(|| {
            let read = |at: u64, into: &mut [u8]| match self.memory.read(&[(at, into.len())]).pop().flatten() {
                Some(bytes) => {
                    into.copy_from_slice(&bytes);
                    true
                }
                None => false,
            };
            control_block::stacks_within(read, mapped.start, mapped.end, MOST_STACKS)
                .into_iter()
                .filter_map(|block| Some((block.start, block.end, *self.by_own.get(&block.tid)?)))
                .collect()
        });
        if let Some((_, end, tid)) = stacks.iter().find(|(start, end, _)| (*start..*end).contains(&address)) {
            return if address >= end - BLOCK_ROOM {
                LockPlace::ThreadBlock { tid: *tid }
            } else {
                LockPlace::Stack { tid: *tid }
            };
        }
        // Without a block: above the only stack pointer in this mapping. With two it could be either's.
        let first = self.pointers.partition_point(|(pointer, _)| *pointer < mapped.start);
        let mut inside = self.pointers[first..]
            .iter()
            .take_while(|(pointer, _)| *pointer < mapped.end);
        match (inside.next(), inside.next()) {
            (None, _) => LockPlace::Heap,
            (Some((pointer, tid)), None) if address >= *pointer => LockPlace::Stack { tid: *tid },
            // Below the stack pointer nothing of a stack is alive.
            (Some(_), None) => LockPlace::Heap,
            (Some(_), Some(_)) => LockPlace::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Call, Pid, ThreadState, Unknown};
    use crate::observe::locks::made;
    use crate::observe::locks::words::tests::Made;

    fn mapped(start: u64, end: u64, name: &str, shared: bool) -> Mapped {
        Mapped {
            start,
            end,
            executable: false,
            writable: true,
            shared,
            name: Arc::from(name),
            module: Err(Unknown::NotAsked),
            bias: 0,
        }
    }

    #[test]
    fn each_mapping_says_what_it_is() {
        let mappings = [
            mapped(0x1000, 0x2000, "[heap]", false),
            mapped(0x3000, 0x4000, "/bin/app", false),
            mapped(0x5000, 0x6000, "/dev/shm/lock", true),
            mapped(0x7000, 0x8000, "", true),
            mapped(0x10000, 0x20000, "", false),
            mapped(0x30000, 0x40000, "", false),
            mapped(0x50000, 0x60000, "", false),
            mapped(0x70000, 0x80000, "[stack]", false),
        ];
        let mut dump = made::dump(Pid(1), &[]);
        for (tid, pointer) in [(1, 0x78000), (2, 0x18000), (3, 0x38000), (4, 0x39000)] {
            let mut thread = made::thread(tid, tid, ThreadState::Sleeping);
            thread.call = Ok(Call {
                number: Some(0),
                arguments: [0; 6],
                stack_pointer: pointer,
                program_counter: 0,
            });
            dump.threads.push(thread);
        }
        let nothing = Made {
            start: 0,
            bytes: vec![],
        };
        let mut places = Places::new(&dump, &mappings, &|_| None, &nothing);
        let mapping = |name: &str, offset| LockPlace::Mapping {
            name: Arc::from(name),
            offset,
        };
        let shared = |name: &str, offset| LockPlace::SharedMemory {
            name: Arc::from(name),
            offset,
        };
        for (address, expected) in [
            (0x1800, LockPlace::Heap),
            (0x3010, mapping("/bin/app", 0x10)),
            (0x5020, shared("/dev/shm/lock", 0x20)),
            (0x7020, shared("anonymous", 0x20)),
            (0x18010, LockPlace::Stack { tid: Tid(2) }),
            // Below the stack pointer nothing of a stack is alive.
            (0x17000, LockPlace::Heap),
            // Two stacks in one mapping, and no control blocks.
            (0x39010, LockPlace::Unknown),
            (0x51000, LockPlace::Heap),
            (0x71000, LockPlace::Stack { tid: Tid(1) }),
            (0x9000, LockPlace::Unknown),
        ] {
            assert_eq!(places.of(address), expected, "{address:x}");
        }
        assert_eq!(
            Places::new(&dump, &[], &|_| None, &nothing).of(0x1800),
            LockPlace::Unknown
        );
    }
}
