//! The threads library's own word on a stack: the control block at its upper end.
//!
//! glibc puts a thread's `struct pthread` at the top of the stack it made for it. The block points
//! to itself twice, names its thread, and holds the bounds of the memory it was carved from. So it
//! tells whose a stack is while the thread runs, where a stack ends that the kernel has merged with
//! its neighbour, and which stacks are kept for threads to come.
//!
//! Offsets are those of x86-64, the same from glibc 2.31 to 2.42 (nptl/descr.h and
//! sysdeps/x86_64/nptl/tls.h): the block itself at 0 and at 16, the tid at 720. The bounds have no
//! fixed place, so we look for the words that agree with each other and with where the block is.
//! On other machines, and with other libraries, nothing is found and nothing is claimed.
//!
//! The block is memory of the process: it may lie. It can only lie about its own process.

/// How far the block may be from the upper end. One page: it is in memory, as its thread wrote to it.
pub(super) const LOOK_BYTES: usize = 4096;

/// The block is aligned at least to a cache line.
const ALIGNMENT: usize = 64;
const SELF: usize = 16;
const TID: usize = 720;
/// The bounds come behind the tid and before the end of the largest known block (2 368 bytes).
const BOUNDS: std::ops::Range<usize> = 768..2432;

/// A stack as its control block describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// In the pid namespace of the process. 0: its thread has ended, the stack is kept for another.
    pub(super) tid: u32,
    /// Lowest usable address.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) guard_bytes: u64,
}

/// The stacks within the mapping from `start` to `end`, from the highest down, `most` of them.
/// `read` fills the buffer from that address or says false. Stops where there is no block, so what
/// it gives back always reaches up to `end` without a hole.
pub(super) fn stacks_within(
    mut read: impl FnMut(u64, &mut [u8]) -> bool,
    start: u64,
    end: u64,
    most: usize,
) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut top = end;
    let mut bytes = [0; LOOK_BYTES];
    while blocks.len() < most
        && top.saturating_sub(start) >= LOOK_BYTES as u64
        && read(top - LOOK_BYTES as u64, &mut bytes)
    {
        let Some(block) = block_at_end(&bytes, top) else { break };
        blocks.push(block);
        // Never upwards or in place, whatever the block says: `block_at_end` saw to that.
        top = block.start - block.guard_bytes;
    }
    blocks
}

/// The block in the last bytes below `end`.
fn block_at_end(bytes: &[u8; LOOK_BYTES], end: u64) -> Option<Block> {
    if cfg!(not(target_arch = "x86_64")) {
        return None;
    }
    let base = end.checked_sub(LOOK_BYTES as u64)?;
    let word = |at: usize| -> Option<u64> { Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)) };
    (0..LOOK_BYTES - TID).step_by(ALIGNMENT).find_map(|at| {
        let address = base + at as u64;
        if word(at)? != address || word(at + SELF)? != address {
            return None;
        }
        let tid = u32::from_le_bytes(*bytes.get(at + TID..)?.first_chunk()?);
        // `stackblock`, `stackblock_size`, `guardsize`, one behind the other.
        BOUNDS.step_by(8).find_map(|bounds| {
            let (low, size, guard) = (word(at + bounds)?, word(at + bounds + 8)?, word(at + bounds + 16)?);
            let page = 4096;
            let agrees = low.checked_add(size)? == end
                && [low, size, guard].iter().all(|value| value.is_multiple_of(page))
                && guard < size
                && size >= LOOK_BYTES as u64
                && (low..end).contains(&address);
            agrees.then_some(Block {
                tid,
                start: low + guard,
                end,
                guard_bytes: guard,
            })
        })
    })
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Memory from `base` on that holds blocks as glibc lays them out.
    fn put_block(memory: &mut [u8], base: u64, low: u64, size: u64, guard: u64, tid: u32) {
        let address = low + size - 2368;
        let address = address - address % 64;
        let at = (address - base) as usize;
        let mut put = |offset: usize, value: u64| {
            memory[at + offset..at + offset + 8].copy_from_slice(&value.to_le_bytes());
        };
        put(0, address);
        put(SELF, address);
        put(TID, u64::from(tid));
        put(1680, low);
        put(1688, size);
        put(1696, guard);
    }

    fn look(memory: &[u8], base: u64) -> Vec<Block> {
        let read = |address: u64, into: &mut [u8]| {
            let at = (address - base) as usize;
            into.copy_from_slice(&memory[at..at + into.len()]);
            true
        };
        stacks_within(read, base, base + memory.len() as u64, 1000)
    }

    #[test]
    fn a_block_names_its_thread_and_its_bounds() {
        let mut memory = vec![0; 0x10000];
        put_block(&mut memory, 0x70001000, 0x70000000, 0x11000, 0x1000, 42);
        let expected = Block {
            tid: 42,
            start: 0x70001000,
            end: 0x70011000,
            guard_bytes: 0x1000,
        };
        assert_eq!(look(&memory, 0x70001000), [expected]);
    }

    #[test]
    fn stacks_that_the_kernel_merged_are_told_apart() {
        let mut memory = vec![0; 0x30000];
        let base = 0x70000000;
        put_block(&mut memory, base, 0x70000000 - 0x1000, 0x11000, 0x1000, 1);
        put_block(&mut memory, base, 0x70010000, 0x8000, 0, 0);
        put_block(&mut memory, base, 0x70018000, 0x18000, 0, 3);
        let found: Vec<_> = look(&memory, base)
            .iter()
            .map(|block| (block.tid, block.start, block.end))
            .collect();
        let expected = [
            (3, 0x70018000, 0x70030000),
            (0, 0x70010000, 0x70018000),
            (1, 0x70000000, 0x70010000),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_only_looks_like_a_block_is_none() {
        let base = 0x70000000;
        let size = 0x10000;
        let check = |change: fn(&mut Vec<u8>)| {
            let mut memory = vec![0; size as usize];
            put_block(&mut memory, base, base, size, 0, 7);
            assert_eq!(look(&memory, base).len(), 1);
            change(&mut memory);
            assert_eq!(look(&memory, base), []);
        };
        // 2368 is a multiple of 64, so the block lies that far below the end: at 0xf6c0.
        check(|memory| memory[0xf6c0] ^= 0x40);
        check(|memory| memory[0xf6c0 + SELF] ^= 8);
        check(|memory| memory[0xf6c0 + 1688 + 1] ^= 0x10);
        check(|memory| memory.fill(0));
        check(|memory| memory.fill(0xff));
    }

    proptest! {
        #[test]
        fn garbage_ends_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 4096..4097), end: u64) {
            let page: [u8; LOOK_BYTES] = bytes.try_into().unwrap();
            let _ = block_at_end(&page, end);
        }

        #[test]
        fn whatever_a_process_writes_the_walk_goes_down(low_pages in 0u64..64, size_pages in 0u64..64, guard_pages in 0u64..64) {
            let base = 0x70000000;
            let mut memory = vec![0; 0x20000];
            let address = base + 0x20000 - 2368;
            put_block(&mut memory, base, base, 0x20000, 0, 7);
            let at = (address - base) as usize;
            for (offset, value) in [(1680, base + low_pages * 4096), (1688, size_pages * 4096), (1696, guard_pages * 4096)] {
                memory[at + offset..at + offset + 8].copy_from_slice(&u64::to_le_bytes(value));
            }
            let blocks = look(&memory, base);
            prop_assert!(blocks.windows(2).all(|pair| pair[1].end < pair[0].end));
        }
    }
}
