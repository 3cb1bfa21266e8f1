//! Reads another process' ledger without stopping it, and survives whatever that process wrote there.
//!
//! [`Reader::find`] looks through the descriptors of the process for a memory file of our name,
//! makes sure that mapping it cannot hurt us, and maps it read-only. [`Reader::read`] copies every slot
//! under its seqlock and turns the copies into a [`LedgerView`]. Nothing in the segment is trusted:
//! no length, index or offset that is used was read from it without a bound of ours.
//!
//! What the reader remembers between two readings: the names (they never change) and each slot's
//! totals of ended threads, so that a slot that happens to be torn takes nothing out of the sums.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FileType, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::layout::{self, FILE_NAME, MOST_SLOTS, Parts, Senseless, segment_bytes};
use super::slot::{Copied, Totals};
use crate::kernel::{ProcRoot, clock};
use crate::model::{HeapTally, LedgerRow, LedgerView, Nanos, Pid, TaskNow, Tid};

/// Descriptors looked at before we say that there is no ledger. It is made early, so its number is low.
const MOST_DESCRIPTORS: usize = 16_384;
/// Retries that all torn slots of one reading share: under a millisecond even if every slot is torn for good.
const PATIENCE: u32 = 20_000;
/// PID_MAX_LIMIT, include/linux/threads.h: no tid is higher.
const MOST_TID: u32 = 4 * 1024 * 1024;
/// TMPFS_MAGIC, include/uapi/linux/magic.h: where a memory file of ordinary pages lives. One of
/// huge pages could fault for want of them.
const TMPFS: u64 = 0x0102_1994;

/// Why a ledger could not be attached. A process without one is `Ok(None)`.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    #[error(
        "not allowed to look at the descriptors of process {0}; run threadscape as its owner or with CAP_SYS_PTRACE"
    )]
    Denied(Pid),
    #[error("process {0} has ended")]
    Ended(Pid),
    #[error("the ledger of process {pid} has format {found}; this reader knows {known}")]
    Version { pid: Pid, found: u32, known: u32 },
    #[error("the ledger of process {0} is not one: {1}")]
    Garbage(Pid, &'static str),
}

/// A mapped view of one process' ledger.
pub struct Reader {
    mapping: Mapping,
    memory: Mutex<Memory>,
}

impl Reader {
    /// Looks for the ledger among the descriptors of `pid` and maps it read-only. A captured tree
    /// has none, and neither has a child that merely inherited its parent's.
    pub fn find(root: &ProcRoot, pid: Pid) -> Result<Option<Reader>, ReaderError> {
        if root.is_captured() {
            return Ok(None);
        }
        let process = root.process(pid);
        let refused = |error: &io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => ReaderError::Denied(pid),
            _ => ReaderError::Ended(pid),
        };
        let descriptors = std::fs::read_dir(process.join("fd")).map_err(|error| refused(&error))?;
        let mut trouble = None;
        for descriptor in descriptors.take(MOST_DESCRIPTORS) {
            let path = descriptor.map_err(|error| refused(&error))?.path();
            if !names_a_ledger(&path) {
                continue;
            }
            match attach(&path) {
                Ok(mapping) if mapping.belongs_to(&process, pid) => {
                    return Ok(Some(Reader {
                        mapping,
                        memory: Mutex::new(Memory::default()),
                    }));
                }
                Ok(_) => {}
                Err(Refusal::Denied) => trouble = trouble.or(Some(ReaderError::Denied(pid))),
                // Closed since we listed it.
                Err(Refusal::Gone) => {}
                Err(Refusal::Senseless(Senseless::Version(found))) => {
                    trouble = trouble.or(Some(ReaderError::Version {
                        pid,
                        found,
                        known: layout::VERSION,
                    }));
                }
                Err(Refusal::Senseless(Senseless::Because(why))) => {
                    trouble = trouble.or(Some(ReaderError::Garbage(pid, why)));
                }
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// All slots as they stand; torn or senseless ones are counted, never shown.
    pub fn read(&self) -> LedgerView {
        let parts = self.mapping.parts();
        view(&parts, clock::monotonic, &mut self.memory.lock())
    }
}

/// `/proc/<pid>/fd/<n>` of a memory file reads `/memfd:NAME (deleted)`.
fn names_a_ledger(descriptor: &Path) -> bool {
    std::fs::read_link(descriptor).is_ok_and(|target| {
        let text = target.to_string_lossy();
        let name = text
            .strip_prefix("/memfd:")
            .map(|name| name.trim_end_matches(" (deleted)"));
        name == Some(FILE_NAME)
    })
}

#[derive(Debug)]
enum Refusal {
    Denied,
    Gone,
    Senseless(Senseless),
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Refusal {
        match error {
            Errno::ACCESS | Errno::PERM => Refusal::Denied,
            Errno::NOENT | Errno::SRCH => Refusal::Gone,
            _ => Refusal::Senseless(Senseless::Because("its file could not be opened and mapped")),
        }
    }
}

fn senseless(why: &'static str) -> Refusal {
    Refusal::Senseless(Senseless::Because(why))
}

/// Opens what the descriptor names, in two steps: by the time we open, the number may stand for a
/// pipe or a device, and opening those can block or act. O_PATH does neither.
fn attach(descriptor: &Path) -> Result<Mapping, Refusal> {
    let pinned = rustix::fs::open(descriptor, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&pinned)?.st_mode);
    if kind != FileType::RegularFile || rustix::fs::fstatfs(&pinned)?.f_type as u64 != TMPFS {
        return Err(senseless("its file is not an ordinary memory file"));
    }
    let same = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    let file = rustix::fs::open(same, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    map(&file)
}

/// Maps a memory file that cannot shrink under us: without the seal a reading could end in SIGBUS.
fn map(file: &OwnedFd) -> Result<Mapping, Refusal> {
    let seals = rustix::fs::fcntl_get_seals(file).map_err(|_| senseless("its file cannot be sealed"))?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err(senseless("its file is not sealed against shrinking"));
    }
    // After the seals: from here on the size can only grow.
    let size = rustix::fs::fstat(file)?.st_size;
    let bytes = usize::try_from(size).unwrap_or(usize::MAX);
    if bytes < segment_bytes(1) || bytes > segment_bytes(MOST_SLOTS) || !bytes.is_multiple_of(8) {
        return Err(senseless("its size is not that of a ledger"));
    }
    let mapping = Mapping::new(file, bytes)?;
    Parts::check(mapping.words()).map_err(Refusal::Senseless)?;
    Ok(mapping)
}

/// A read-only mapping of a whole, sealed memory file.
struct Mapping {
    start: ptr::NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping belongs to no thread, is only read, and only through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: impl AsFd, bytes: usize) -> Result<Mapping, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
        let start = ptr::NonNull::new(start.cast()).ok_or(Errno::INVAL)?;
        Ok(Mapping {
            start,
            words: bytes / 8,
        })
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping spans `words` words, is page-aligned, and stays until drop. The other
        // process may write at any time: all reads are atomic loads of one word, which plain read-only
        // memory allows (std::sync::atomic, "Atomic accesses to read-only memory").
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    fn parts(&self) -> Parts<'_> {
        Parts::over(self.words()).expect("the length was checked when it was mapped")
    }

    /// Whether `pid` made it, and did not merely inherit it over a fork. The writer knows itself by
    /// its pid in its own namespace.
    fn belongs_to(&self, process: &Path, pid: Pid) -> bool {
        let writer = self.parts().header.pid.load(Ordering::Relaxed);
        writer == u64::from(pid.0)
            || std::fs::read_to_string(process.join("status"))
                .is_ok_and(|status| innermost_pid(&status) == Some(writer))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new` with this length; every borrow of it has ended. A failure would
        // leak the mapping and nothing else.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.words * 8) };
    }
}

/// The last number of `NSpid` in `/proc/<pid>/status`: the pid in the process' own namespace.
fn innermost_pid(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

/// What one reading leaves for the next.
#[derive(Default)]
pub(super) struct Memory {
    /// In the order of the table; number 1 is the first.
    names: Vec<Arc<str>>,
    nameless: Arc<str>,
    /// For each slot.
    ended: Vec<Ended>,
    /// Empty between readings; kept for its room.
    copies: Vec<Option<Copied>>,
}

impl Memory {
    fn name(&self, number: u32) -> Option<&Arc<str>> {
        self.names.get((number as usize).checked_sub(1)?)
    }
}

/// What threads did that held a slot and have ended.
#[derive(Clone, Copy, Default)]
struct Ended {
    claims: u64,
    threads: u64,
    totals: Totals,
}

/// One reading. `now` is asked after all slots were copied, so that no honest start lies after it.
pub(super) fn view(parts: &Parts, now: impl FnOnce() -> Nanos, memory: &mut Memory) -> LedgerView {
    let mut patience = PATIENCE;
    let mut copies = std::mem::take(&mut memory.copies);
    copies.extend(parts.slots_used().iter().map(|slot| slot.copy(&mut patience)));
    let now = now();

    // After the slots: a name is complete before a slot can hold its number.
    let known = memory.names.len();
    for name in parts.names_used().get(known..).unwrap_or_default() {
        memory.names.push(layout::decode(&name.bytes()).into());
    }
    if memory.ended.len() < copies.len() {
        memory.ended.resize(copies.len(), Ended::default());
    }

    let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let header = parts.header;
    let mut view = LedgerView {
        rows: Vec::with_capacity(copies.len()),
        overflow: read(&header.overflow_threads),
        overflow_heap: HeapTally {
            allocated_bytes: read(&header.overflow_allocated_bytes),
            freed_bytes: read(&header.overflow_freed_bytes),
            allocations: read(&header.overflow_allocations),
            frees: read(&header.overflow_frees),
        },
        overflow_tasks: read(&header.overflow_done),
        ..LedgerView::default()
    };
    for (index, copied) in copies.iter().enumerate() {
        match copied.as_ref().and_then(Meaning::of) {
            Some(meaning) => {
                memory.ended[index] = meaning.ended;
                if let Some((tid, own)) = meaning.present {
                    view.rows.push(row(tid, &own, copied.as_ref(), now, memory));
                }
            }
            None => view.unreadable_slots += 1,
        }
        let ended = memory.ended[index];
        view.started_total = view.started_total.wrapping_add(ended.claims);
        view.ended_threads = view.ended_threads.wrapping_add(ended.threads);
        view.ended_tasks = view.ended_tasks.wrapping_add(ended.totals.done);
        view.ended_heap = view.ended_heap.plus(&heap(&ended.totals));
    }
    copies.clear();
    memory.copies = copies;
    // No honest process has a tid twice; of a dishonest one we believe the first.
    view.rows.sort_by_key(|row| row.tid);
    let told = view.rows.len();
    view.rows.dedup_by_key(|row| row.tid);
    view.unreadable_slots += (told - view.rows.len()) as u32;
    view
}

/// What a copied slot says, if it makes sense.
struct Meaning {
    ended: Ended,
    present: Option<(Tid, Totals)>,
}

impl Meaning {
    fn of(copied: &Copied) -> Option<Meaning> {
        let tid = copied.owner.tid();
        if tid == 0 {
            return Some(Meaning {
                ended: Ended {
                    claims: copied.claims,
                    threads: copied.claims,
                    totals: copied.totals,
                },
                present: None,
            });
        }
        if tid > MOST_TID {
            return None;
        }
        Some(Meaning {
            ended: Ended {
                claims: copied.claims,
                threads: copied.claims.checked_sub(1)?,
                totals: copied.base,
            },
            present: Some((Tid(tid), copied.totals.since(&copied.base)?)),
        })
    }
}

fn row(tid: Tid, own: &Totals, copied: Option<&Copied>, now: Nanos, memory: &Memory) -> LedgerRow {
    let task = copied.and_then(|copied| {
        let owner = copied.owner;
        let speaks = owner.is_worker() || owner.is_busy() || own.done > 0;
        speaks.then(|| TaskNow {
            pool: Arc::clone(memory.name(owner.pool()).unwrap_or(&memory.nameless)),
            workload: owner
                .is_busy()
                .then(|| memory.name(owner.workload()).cloned())
                .flatten(),
            id: owner.is_busy().then_some(copied.task_id),
            // A start after now is nonsense: the age is unknown, not zero.
            age: (owner.is_busy() && copied.started_ns > 0)
                .then(|| now.0.checked_sub(copied.started_ns).map(Nanos))
                .flatten(),
            done: own.done,
            queue_wait: Nanos(own.queue_wait_ns),
            service: Nanos(own.service_ns),
            parked: owner.is_parked() && !owner.is_busy(),
        })
    });
    LedgerRow {
        tid,
        heap: heap(own),
        task,
    }
}

fn heap(totals: &Totals) -> HeapTally {
    HeapTally {
        allocated_bytes: totals.allocated_bytes,
        freed_bytes: totals.freed_bytes,
        allocations: totals.allocations,
        frees: totals.frees,
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{HEADER_BYTES, MAGIC, VERSION};
    use super::super::slot::Owner;
    use super::*;
    use proptest::prelude::*;
    use rustix::fs::MemfdFlags;

    const NAMES_AT: usize = HEADER_BYTES / 8;
    const SLOTS_AT: usize = segment_bytes(0) / 8;
    const SLOT_WORDS: usize = layout::SLOT_BYTES / 8;

    /// Words of a segment, aligned as a mapping is.
    struct Words(Vec<Line>);

    #[repr(C, align(64))]
    struct Line([AtomicU64; 8]);

    impl Words {
        fn new(words: &[u64]) -> Words {
            let line = |chunk: &[u64]| Line(std::array::from_fn(|i| AtomicU64::new(*chunk.get(i).unwrap_or(&0))));
            Words(words.chunks(8).map(line).collect())
        }

        fn words(&self) -> &[AtomicU64] {
            // SAFETY: lines are arrays of words without padding.
            unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 8) }
        }
    }

    /// A header that is right for `slots` slots, and nothing else.
    fn honest(slots: usize) -> Vec<u64> {
        let mut words = vec![0; segment_bytes(slots) / 8];
        let header = [
            MAGIC,
            u64::from(VERSION),
            HEADER_BYTES as u64,
            layout::NAME_CAPACITY as u64,
            layout::SLOT_BYTES as u64,
            slots as u64,
            77,
            1,
            0,
            slots as u64,
        ];
        words[..header.len()].copy_from_slice(&header);
        words
    }

    fn set_name(words: &mut [u64], number: usize, bytes: &[u8; layout::NAME_BYTES]) {
        for (index, eight) in bytes.chunks_exact(8).enumerate() {
            words[NAMES_AT + (number - 1) * 4 + index] = u64::from_le_bytes(eight.try_into().unwrap());
        }
    }

    fn read_at(words: &[u64], now: u64, memory: &mut Memory) -> LedgerView {
        let words = Words::new(words);
        view(&Parts::check(words.words()).unwrap(), || Nanos(now), memory)
    }

    fn read(words: &[u64]) -> LedgerView {
        read_at(words, 1_000_000, &mut Memory::default())
    }

    fn refused(words: &[u64]) -> Senseless {
        match Parts::check(Words::new(words).words()) {
            Ok(_) => panic!("was taken for a ledger"),
            Err(why) => why,
        }
    }

    #[test]
    fn each_word_of_the_header_is_checked() {
        assert!(Parts::check(Words::new(&honest(3)).words()).is_ok());
        for index in [0, 2, 3, 4, 5] {
            for value in [0, 1, u64::MAX, 1 << 32] {
                let mut words = honest(3);
                words[index] = value;
                assert!(
                    matches!(refused(&words), Senseless::Because(_)),
                    "word {index} = {value}"
                );
            }
        }
        let mut words = honest(3);
        words[1] = 2;
        assert_eq!(refused(&words), Senseless::Version(2));
        words[1] = u64::MAX;
        assert_eq!(refused(&words), Senseless::Version(u32::MAX));
    }

    #[test]
    fn a_cut_segment_is_refused() {
        let words = honest(3);
        for lines in [0, 1, 3, 100, segment_bytes(0) / 64, words.len() / 8 - 1] {
            assert!(matches!(refused(&words[..lines * 8]), Senseless::Because(_)), "{lines}");
        }
    }

    #[test]
    fn a_slot_that_stays_torn_is_counted_and_its_ended_threads_stay_in_the_sums() {
        let mut words = honest(1);
        let slot = SLOTS_AT;
        // Held by 5, taken twice; the first owner did 10 tasks, this one 2.
        words[slot + 1] = 5;
        words[slot + 4] = 12;
        words[slot + 16] = 2;
        words[slot + 17] = 10;
        let mut memory = Memory::default();
        let whole = read_at(&words, 9, &mut memory);
        assert_eq!(
            (whole.ended_tasks, whole.ended_threads, whole.started_total),
            (10, 1, 2)
        );
        assert_eq!(whole.rows[0].task.as_ref().unwrap().done, 2);
        words[slot] = 7;
        let torn = read_at(&words, 9, &mut memory);
        assert_eq!(torn.unreadable_slots, 1);
        assert_eq!(torn.rows, []);
        assert_eq!((torn.ended_tasks, torn.ended_threads, torn.started_total), (10, 1, 2));
    }

    #[test]
    fn nonsense_is_counted_and_not_shown() {
        let check = |why: &str, change: &dyn Fn(&mut [u64])| {
            let mut words = honest(2);
            for slot in [SLOTS_AT, SLOTS_AT + SLOT_WORDS] {
                words[slot + 16] = 1;
            }
            words[SLOTS_AT + 1] = 5;
            words[SLOTS_AT + SLOT_WORDS + 1] = 6;
            change(&mut words[SLOTS_AT + SLOT_WORDS..]);
            let view = read(&words);
            assert_eq!(view.unreadable_slots, 1, "{why}");
            assert_eq!(view.rows.len(), 1, "{why}");
        };
        check("a tid twice", &|slot| slot[1] = 5);
        check("no such tid", &|slot| slot[1] = u64::from(MOST_TID) + 1);
        check("held but never taken", &|slot| slot[16] = 0);
        check("a counter behind its base", &|slot| slot[20] = 1);
        check("torn", &|slot| slot[0] = u64::MAX);
    }

    #[test]
    fn a_number_without_a_name_shows_none() {
        let mut words = honest(1);
        words[8] = 1;
        set_name(&mut words, 1, &layout::encode("only"));
        words[SLOTS_AT + 16] = 1;
        for (pool, shown) in [(0, ""), (1, "only"), (2, ""), (Owner::NAME_LIMIT - 1, "")] {
            words[SLOTS_AT + 1] = Owner::new(9).joined(pool).begun(pool).0;
            let view = read(&words);
            let task = view.rows[0].task.as_ref().unwrap();
            assert_eq!(&*task.pool, shown);
            assert_eq!(task.workload.as_deref(), (pool == 1).then_some("only"));
        }
    }

    #[test]
    fn a_file_that_could_shrink_or_is_too_small_is_not_mapped() {
        let make = |bytes: u64, seals: SealFlags| {
            // Another name than the ledger's: other tests look for that among our descriptors.
            let file =
                rustix::fs::memfd_create("not-a-ledger", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
            rustix::fs::ftruncate(&file, bytes).unwrap();
            rustix::fs::fcntl_add_seals(&file, seals).unwrap();
            file
        };
        let full = segment_bytes(2) as u64;
        let why = |file: OwnedFd| match map(&file) {
            Ok(_) => panic!("was mapped"),
            Err(Refusal::Senseless(Senseless::Because(why))) => why,
            Err(other) => panic!("{other:?}"),
        };
        assert!(why(make(full, SealFlags::GROW)).contains("not sealed"));
        for bytes in [0, 8, 4096, segment_bytes(0) as u64, 1 << 40, full + 1] {
            assert!(why(make(bytes, SealFlags::SHRINK)).contains("size"), "{bytes}");
        }
        assert!(why(make(full, SealFlags::SHRINK)).contains("magic"));
    }

    #[test]
    fn a_name_that_only_looks_like_ours_is_passed_by() {
        let folder = tempfile::tempdir().unwrap();
        let check = |target: &str, expected: bool| {
            let link = folder.path().join("link");
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert_eq!(names_a_ledger(&link), expected, "{target}");
        };
        check("/memfd:threadscape-ledger (deleted)", true);
        check("/memfd:threadscape-ledger-2 (deleted)", false);
        check("/tmp/memfd:threadscape-ledger", false);
        check("socket:[71]", false);
        // A link that says so but leads to an ordinary file is refused when it is opened.
        let file = folder.path().join("file");
        std::fs::write(&file, [0; 64]).unwrap();
        assert!(attach(&file).is_err());
        assert!(matches!(attach(&folder.path().join("gone")), Err(Refusal::Gone)));
        assert!(attach(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn the_innermost_namespace_is_the_last_word() {
        assert_eq!(innermost_pid("Name:\tx\nNSpid:\t4242\t17\t1\n"), Some(1));
        assert_eq!(innermost_pid("NSpid:\t4242\n"), Some(4242));
        assert_eq!(innermost_pid("NSpid:\n"), None);
        assert_eq!(innermost_pid("Name: x"), None);
    }

    #[test]
    fn a_process_that_is_not_there_has_ended() {
        let nobody = Pid(MOST_TID + 1);
        let found = Reader::find(&ProcRoot::live(), nobody);
        assert!(matches!(found, Err(ReaderError::Ended(pid)) if pid == nobody));
    }

    #[test]
    fn a_reader_may_go_to_any_thread() {
        fn any<T: Send + Sync>() {}
        any::<Reader>();
    }

    /// Words as hostile or as plausible as it takes to reach every branch.
    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![3 => 0..4u64, 2 => 0..10_000u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(words in prop::collection::vec(any::<u64>(), 0..200), slots in 0usize..3) {
            let mut segment = vec![0; segment_bytes(slots) / 8];
            let common = words.len().min(segment.len());
            segment[..common].copy_from_slice(&words[..common]);
            let _ = Parts::check(Words::new(&segment).words());
            let _ = Parts::check(Words::new(&words).words());
        }

        #[test]
        fn whatever_the_slots_hold_rows_are_sane(
            slots in prop::collection::vec(prop::collection::vec(word(), SLOT_WORDS), 1..6),
            second in prop::collection::vec(prop::collection::vec(word(), SLOT_WORDS), 1..6),
            counts in [word(), word()],
            shared in prop::collection::vec(word(), 8),
            names in any::<[u8; layout::NAME_BYTES]>(),
            now in word(),
        ) {
            let mut memory = Memory::default();
            // The same reader sees one nonsense after another.
            for slots in [slots, second] {
                let mut words = honest(slots.len());
                words[8..10].copy_from_slice(&counts);
                words[16..24].copy_from_slice(&shared);
                set_name(&mut words, 1, &names);
                for (index, slot) in slots.iter().enumerate() {
                    words[SLOTS_AT + index * SLOT_WORDS..][..SLOT_WORDS].copy_from_slice(slot);
                }
                let view = read_at(&words, now, &mut memory);
                prop_assert!(view.rows.len() + view.unreadable_slots as usize <= slots.len());
                prop_assert!(view.rows.is_sorted_by(|a, b| a.tid < b.tid));
                for row in &view.rows {
                    prop_assert!(row.tid.0 > 0 && row.tid.0 <= MOST_TID);
                    if let Some(age) = row.task.as_ref().and_then(|task| task.age) {
                        prop_assert!(age.0 <= now);
                    }
                }
            }
        }
    }
}
