//! Which mapping is a thread's stack: told by its stack pointer and the guard below.
//!
//! The kernel names only the main thread's stack. Any other is private memory that the threads
//! library mapped: readable and writable, with an inaccessible guard right below. A stack pointer
//! in such a mapping says whose it is. `sampler` asks [`StackMap`] for thousands of threads on each
//! pass, so it keeps what can be a stack and no more; `memory` uses the same [`Shapes`].
//!
//! What is in a stack: the threads library puts the thread's control block and its thread-locals at
//! the upper end, and the kernel puts arguments and environment there for the main thread. Both
//! count as used.
//!
//! Left out on purpose: a stack without a guard (`pthread_attr_setguardsize` 0, goroutines, stacks
//! that a program carves out of its heap). The kernel merges it with its neighbours, so its
//! mapping says nothing of its bounds: `NoStackFound` is the truth. The same goes for guards that
//! are no mapping of their own (glibc 2.42 with MADV_GUARD_INSTALL on Linux 6.13).

use crate::kernel::maps::{self, Mapping};
use crate::kernel::{ProcRoot, smaps};
use crate::model::{Evidence, Pid, StackUse, Unknown};

/// PTHREAD_STACK_MIN of glibc. Smaller guarded mappings are alternate signal stacks.
const LEAST_STACK: u64 = 16 << 10;

/// A larger inaccessible mapping is not a guard alone: reserved room lies below the stack, and the
/// kernel has merged the guard with it.
const LARGEST_GUARD: u64 = 1 << 20;

/// A mapping that is, or by its shape may be, one thread's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) named: Named,
    pub(super) guard: Guard,
}

/// Whether the kernel itself calls a mapping a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    No,
    /// `[stack]`.
    Main,
    /// `[stack:TID]`, which Linux 3.4 to 4.4 printed.
    Thread(u32),
}

/// What lies right below a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nothing: the main thread's stack grows, and the kernel keeps a gap.
    None,
    /// A mapping of its own, of so many bytes.
    Own(u64),
    /// Part of a larger inaccessible mapping: how large it is cannot be told.
    Merged,
}

impl Shape {
    pub(super) fn size_bytes(&self) -> u64 {
        self.end - self.start
    }

    pub(super) fn holds(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The stack as a thread's, `used` being the depth at this stack pointer.
    pub(super) fn at(&self, stack_pointer: Evidence<u64>, resident_bytes: Evidence<u64>) -> StackUse {
        StackUse {
            start: self.start,
            end: self.end,
            reserved_bytes: self.size_bytes(),
            resident_bytes,
            used_bytes: Err(Unknown::NotAsked),
            guard_bytes: match self.guard {
                Guard::Own(bytes) => Some(bytes),
                Guard::None | Guard::Merged => None,
            },
        }
        .at(stack_pointer)
    }
}

/// Takes mappings in address order and says which have the shape of a stack.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// End and size of the mapping before, where that was inaccessible private memory.
    below: Option<(u64, u64)>,
}

impl Shapes {
    pub(super) fn next(&mut self, mapping: &Mapping<'_>) -> Option<Shape> {
        let inaccessible = mapping.is_inaccessible() && mapping.is_anonymous();
        let below = std::mem::replace(
            &mut self.below,
            inaccessible.then_some((mapping.end, mapping.size_bytes())),
        );
        let guard = match below {
            Some((end, size)) if end == mapping.start && size <= LARGEST_GUARD => Guard::Own(size),
            Some((end, _)) if end == mapping.start => Guard::Merged,
            _ => Guard::None,
        };
        let named = if mapping.name == b"[stack]" {
            Named::Main
        } else {
            named_thread(mapping.name).map_or(Named::No, Named::Thread)
        };
        let by_shape = mapping.is_anonymous()
            && mapping.permissions.starts_with(b"rw")
            && mapping.size_bytes() >= LEAST_STACK
            && guard != Guard::None;
        (named != Named::No || by_shape).then_some(Shape {
            start: mapping.start,
            end: mapping.end,
            named,
            guard,
        })
    }
}

fn named_thread(name: &[u8]) -> Option<u32> {
    let tid = name.strip_prefix(b"[stack:")?.strip_suffix(b"]")?;
    std::str::from_utf8(tid).ok()?.parse().ok()
}

/// What can be a stack in one process, in address order, read once for all of its threads.
#[derive(Debug, Default)]
pub(crate) struct StackMap {
    shapes: Vec<Shape>,
    /// Runs of mappings without a hole between them.
    mapped: Vec<(u64, u64)>,
}

impl StackMap {
    /// Reads `maps`: cheaper than `smaps` by far, but still dear; do it when stack pointers leave known stacks.
    pub(crate) fn read(root: &ProcRoot, pid: Pid) -> Evidence<StackMap> {
        let folder = super::glance::memory_folder(root, pid)?;
        let mut map = StackMap::default();
        let mut shapes = Shapes::default();
        match maps::read(root, &folder, |mapping| map.add(&mut shapes, mapping)) {
            // A captured tree may hold the richer file only.
            Err(Unknown::NotCaptured) => {
                smaps::read(root, &folder, |mapping, _| map.add(&mut shapes, mapping))?;
            }
            other => other?,
        }
        // A process that ends between open and read gives an empty map.
        if map.mapped.is_empty() {
            return Err(Unknown::Gone);
        }
        map.shapes.shrink_to_fit();
        map.mapped.shrink_to_fit();
        Ok(map)
    }

    /// The stack that holds `stack_pointer`: bounds, guard, and how deep it is used. Resident is `NotAsked`.
    ///
    /// Two threads may be told the same stack only when they share a mapping; then neither owns it.
    pub(crate) fn find(&self, stack_pointer: u64) -> Evidence<StackUse> {
        let shape = holder(&self.shapes, stack_pointer).ok_or(Unknown::NoStackFound)?;
        Ok(shape.at(Ok(stack_pointer), Err(Unknown::NotAsked)))
    }

    /// The main thread's stack, known whatever that thread does; `used` is `Running`.
    pub(crate) fn main(&self) -> Option<StackUse> {
        let shape = self.shapes.iter().find(|shape| shape.named == Named::Main)?;
        Some(shape.at(Err(Unknown::Running), Err(Unknown::NotAsked)))
    }

    /// Whether this map has a stack for that stack pointer.
    pub(crate) fn holds(&self, stack_pointer: u64) -> bool {
        holder(&self.shapes, stack_pointer).is_some()
    }

    /// Whether the address was in any mapping. When it was in none the map has aged: read it again.
    /// When it was, but in no stack (a goroutine's, say), reading again will not help.
    pub(crate) fn has_mapped(&self, address: u64) -> bool {
        let after = self.mapped.partition_point(|(start, _)| *start <= address);
        after > 0 && address < self.mapped[after - 1].1
    }

    fn add(&mut self, shapes: &mut Shapes, mapping: &Mapping<'_>) {
        self.shapes.extend(shapes.next(mapping));
        match self.mapped.last_mut() {
            Some((_, end)) if *end == mapping.start => *end = mapping.end,
            _ => self.mapped.push((mapping.start, mapping.end)),
        }
    }
}

/// The shape that holds this address; `shapes` are in address order.
fn holder(shapes: &[Shape], address: u64) -> Option<&Shape> {
    let after = shapes.partition_point(|shape| shape.start <= address);
    shapes[..after].last().filter(|shape| shape.holds(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::maps::parse_line;
    use std::fmt::Write as _;

    fn map_of(lines: &str) -> StackMap {
        let (mut map, mut shapes) = (StackMap::default(), Shapes::default());
        for line in lines.lines() {
            map.add(&mut shapes, &parse_line(line.as_bytes()).unwrap());
        }
        map
    }

    const THREADS: &str = "\
100000-121000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000001000 ---p 00000000 00:00 0
7f0000001000-7f0000801000 rw-p 00000000 00:00 0
7f0000801000-7f0000802000 ---p 00000000 00:00 0
7f0000802000-7f0001002000 rw-p 00000000 00:00 0
7f0001002000-7f0001135000 r--p 00000000 fe:00 7 /usr/lib/libc.so.6
7f0010000000-7f0010004000 ---p 00000000 00:00 0
7f0010004000-7f0010006000 rw-p 00000000 00:00 0
7f0020000000-7f0024000000 ---p 00000000 00:00 0
7f0024000000-7f0024100000 rw-p 00000000 00:00 0
7f0030000000-7f0030100000 rw-p 00000000 00:00 0
7ffe823d7000-7ffe823f8000 rw-p 00000000 00:00 0 [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]";

    #[test]
    fn two_stacks_side_by_side_are_two() {
        let map = map_of(THREADS);
        let lower = map.find(0x7f00_0080_0000).unwrap();
        assert_eq!((lower.start, lower.end), (0x7f00_0000_1000, 0x7f00_0080_1000));
        assert_eq!((lower.reserved_bytes, lower.guard_bytes), (8 << 20, Some(4096)));
        assert_eq!(lower.used_bytes, Ok(0x1000));
        assert_eq!(lower.resident_bytes, Err(Unknown::NotAsked));
        let upper = map.find(0x7f00_0080_2000).unwrap();
        assert_eq!((upper.start, upper.used_bytes), (0x7f00_0080_2000, Ok(8 << 20)));
    }

    #[test]
    fn what_is_no_stack_is_not_called_one() {
        let map = map_of(THREADS);
        for (address, what) in [
            (0x110000, "the brk heap"),
            (0x7f00_0000_0800, "a guard"),
            (0x7f00_0100_2000, "a library right above a stack"),
            (0x7f00_1000_5000, "an alternate signal stack"),
            (0x7f00_3000_0000, "memory without a guard"),
            (0x7f00_4000_0000, "nothing"),
            (0, "nothing at the start"),
            (u64::MAX, "nothing at the end"),
        ] {
            assert_eq!(map.find(address), Err(Unknown::NoStackFound), "{what}");
            assert!(!map.holds(address), "{what}");
        }
    }

    #[test]
    fn the_main_stack_is_known_by_name_and_has_no_guard() {
        let map = map_of(THREADS);
        let main = map.main().unwrap();
        assert_eq!((main.reserved_bytes, main.guard_bytes), (0x21000, None));
        assert_eq!(main.used_bytes, Err(Unknown::Running));
        assert_eq!(map.find(0x7ffe_823f_0000).unwrap().used_bytes, Ok(0x8000));
    }

    #[test]
    fn a_guard_that_melted_into_reserved_room_has_no_size() {
        let merged = map_of(THREADS).find(0x7f00_2400_0000).unwrap();
        assert_eq!((merged.reserved_bytes, merged.guard_bytes), (1 << 20, None));
    }

    #[test]
    fn an_old_kernel_names_every_stack() {
        let map = map_of("7000000-7100000 rw-p 00000000 00:00 0 [stack:42]");
        assert!(map.holds(0x7080000));
        assert_eq!(map.shapes[0].named, Named::Thread(42));
        assert_eq!(named_thread(b"[stack:]"), None);
    }

    #[test]
    fn an_address_in_no_mapping_says_that_the_map_has_aged() {
        let map = map_of(THREADS);
        assert!(map.has_mapped(0x110000) && map.has_mapped(0x7f00_0000_0000) && map.has_mapped(0x7f00_0113_4fff));
        assert!(!map.has_mapped(0x7f00_0113_5000) && !map.has_mapped(0) && !map.has_mapped(0x7f00_4000_0000));
    }

    #[test]
    fn our_own_stack_holds_our_own_variable() {
        let map = StackMap::read(&ProcRoot::live(), Pid(std::process::id())).unwrap();
        let local = 0u8;
        let here = (&raw const local) as u64;
        let stack = map.find(here).unwrap();
        assert!(stack.start <= here && here < stack.end);
        assert!(map.main().is_some());
    }

    #[test]
    fn ten_thousand_stacks_are_found_by_halving() {
        let mut lines = String::new();
        for n in 0..10_000u64 {
            let guard = 0x7f00_0000_0000 + n * 0x11000;
            let _ = writeln!(lines, "{guard:x}-{:x} ---p 0 0:0 0", guard + 0x1000);
            let _ = writeln!(lines, "{:x}-{:x} rw-p 0 0:0 0", guard + 0x1000, guard + 0x11000);
        }
        let map = map_of(&lines);
        assert_eq!(map.mapped.len(), 1);
        for n in 0..10_000u64 {
            let start = 0x7f00_0000_1000 + n * 0x11000;
            assert_eq!(map.find(start + 0x8000).unwrap().start, start);
        }
    }
}
