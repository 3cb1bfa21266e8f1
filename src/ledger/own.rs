//! This process' own ledger: made once, a slot taken by each thread on first use and given back at its end.
//!
//! Everything here may run inside the allocator: once the ledger is made, nothing allocates through
//! it, nothing takes a lock and nothing waits. The thread-local is a bare pointer with a constant
//! first value and no destructor, so it can be used before `main`, inside the allocator and while
//! other thread-locals are being destroyed.
//!
//! A thread's end is told by a `pthread` key, whose destructors run after Rust's own thread-locals
//! are gone: what those free is still counted in the slot.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::layout::{self, FILE_NAME, Header, MAGIC, MOST_SLOTS, NAME_CAPACITY, Parts, VERSION, encode, segment_bytes};
use super::slot::Slot;

/// The ledger of this process. Lives until the process ends.
struct Segment {
    parts: Parts<'static>,
    /// Where the next claim looks first. Only a hint: any value is right.
    hint: AtomicUsize,
    /// Held while a name is added. Never taken by the allocator.
    naming: Mutex<()>,
    /// Kept open: readers find the memory through it.
    _file: ManuallyDrop<OwnedFd>,
}

/// Null: no ledger. Published with release when everything in it is ready.
static LEDGER: AtomicPtr<Segment> = AtomicPtr::new(ptr::null_mut());

/// Whether somebody makes, or has made, the ledger.
static MAKING: AtomicU32 = AtomicU32::new(0);

/// The key whose destructor gives slots back, plus one; 0: not made yet.
static EXIT_KEY: AtomicU64 = AtomicU64::new(0);

/// Stands for a slot in `MINE`: this thread's tallies go into the header's shared words, because
/// there was no slot for it or because it has given its slot back. No slot has this address.
const SHARED: *const Slot = ptr::without_provenance(1);

thread_local! {
    /// Null: no slot was looked for yet. No destructor, so it works to the thread's very end.
    static MINE: Cell<*const Slot> = const { Cell::new(ptr::null()) };
}

/// Where the calling thread writes.
pub(super) enum Place {
    Slot(&'static Slot),
    Shared(&'static Header),
    Nowhere,
}

/// The calling thread's slot when it has one: one load and one comparison.
#[inline(always)]
pub(super) fn slot() -> Option<&'static Slot> {
    let mine = MINE.get();
    if mine.addr() > SHARED.addr() {
        // SAFETY: only `take_slot` stores such a pointer, and it points into the segment, which is
        // never unmapped. In a forked child `forked` has put null here before anything else runs.
        Some(unsafe { &*mine })
    } else {
        None
    }
}

/// Whether there is a ledger: without one the allocator need not ask any further.
#[inline(always)]
pub(super) fn is_made() -> bool {
    // Relaxed: only the null is looked at; `segment` acquires what is behind it.
    !LEDGER.load(Ordering::Relaxed).is_null()
}

/// As `slot`, but takes one if this thread has none yet.
#[inline]
pub(super) fn place() -> Place {
    match slot() {
        Some(slot) => Place::Slot(slot),
        None => take_slot(),
    }
}

#[cold]
#[inline(never)]
fn take_slot() -> Place {
    let Some(segment) = segment() else {
        return Place::Nowhere;
    };
    if MINE.get() == SHARED {
        return Place::Shared(segment.parts.header);
    }
    // Should anything below allocate after all, that goes into the shared words and not in here again.
    MINE.set(SHARED);
    if let Some(slot) = claim(segment) {
        if call_at_thread_exit(slot) {
            MINE.set(slot);
            return Place::Slot(slot);
        }
        slot.release();
    }
    // Relaxed, here and for all shared tallies: each stands alone.
    segment.parts.header.overflow_threads.fetch_add(1, Ordering::Relaxed);
    Place::Shared(segment.parts.header)
}

fn segment() -> Option<&'static Segment> {
    // Acquire: pairs with the release in `install`.
    let segment = LEDGER.load(Ordering::Acquire);
    // SAFETY: null, or leaked by `install` and never freed.
    unsafe { segment.as_ref() }
}

/// Looks at each slot at most once, beginning where one is likely free.
fn claim(segment: &'static Segment) -> Option<&'static Slot> {
    let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    let slots = segment.parts.slots;
    let first = segment.hint.load(Ordering::Relaxed);
    for step in 0..slots.len() {
        let index = (first + step) % slots.len();
        if slots[index].try_claim(tid) {
            segment.hint.store((index + 1) % slots.len(), Ordering::Relaxed);
            // Release: a reader that looks this far sees the claim.
            segment
                .parts
                .header
                .slots_used
                .fetch_max(index as u64 + 1, Ordering::Release);
            return Some(&slots[index]);
        }
    }
    None
}

fn call_at_thread_exit(slot: &'static Slot) -> bool {
    let Some(key) = EXIT_KEY.load(Ordering::Acquire).checked_sub(1) else {
        return false;
    };
    // SAFETY: the key was made by `make_exit_key` and is never deleted.
    let failed = unsafe { libc::pthread_setspecific(key as libc::pthread_key_t, ptr::from_ref(slot).cast()) };
    failed == 0
}

/// Runs on a thread that ends. What it does to the heap from here on goes into the shared words.
unsafe extern "C" fn thread_ends(_slot: *mut c_void) {
    // Not the key's value: in a forked child that still names the parent's slot, MINE does not.
    let Some(slot) = slot() else { return };
    MINE.set(SHARED);
    slot.release();
    if let Some(segment) = segment() {
        let offset = ptr::from_ref(slot).addr() - segment.parts.slots.as_ptr().addr();
        segment.hint.store(offset / size_of::<Slot>(), Ordering::Relaxed);
    }
}

/// Runs in a child right after `fork`, on its only thread. The mapping is shared with the parent
/// and the slots are the parent's: the child forgets both before it can write.
unsafe extern "C" fn forked() {
    LEDGER.store(ptr::null_mut(), Ordering::Relaxed);
    MAKING.store(0, Ordering::Relaxed);
    MINE.set(ptr::null());
}

unsafe extern "C" {
    // POSIX; `libc` does not declare it for Linux. In glibc and musl alike it is part of libc.
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> c_int;
}

/// Once a process: a child that makes a ledger of its own inherits key and handler.
fn make_exit_key() -> io::Result<()> {
    if EXIT_KEY.load(Ordering::Acquire) != 0 {
        return Ok(());
    }
    // SAFETY: the handler only stores into statics and a thread-local without destructor.
    let failed = unsafe { pthread_atfork(None, None, Some(forked)) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: `key` outlives the call; the destructor may run on any thread at any time.
    let failed = unsafe { libc::pthread_key_create(&raw mut key, Some(thread_ends)) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    EXIT_KEY.store(u64::from(key) + 1, Ordering::Release);
    Ok(())
}

pub(super) fn install(slots: usize) -> io::Result<()> {
    if slots == 0 || slots > MOST_SLOTS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a ledger has 1 to {MOST_SLOTS} slots, not {slots}"),
        ));
    }
    if MAKING
        .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
        .is_err()
    {
        return Ok(());
    }
    match make(slots) {
        Ok(segment) => {
            LEDGER.store(Box::into_raw(Box::new(segment)), Ordering::Release);
            Ok(())
        }
        Err(error) => {
            MAKING.store(0, Ordering::Release);
            Err(error)
        }
    }
}

fn make(slots: usize) -> io::Result<Segment> {
    make_exit_key()?;
    let file = rustix::fs::memfd_create(FILE_NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let bytes = segment_bytes(slots);
    rustix::fs::ftruncate(&file, bytes as u64)?;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let mapped = unsafe {
        rustix::mm::mmap(
            ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &file,
            0,
        )
    }?;
    // SAFETY: the mapping is `bytes` long (a multiple of 8), page-aligned, zeroed, and never
    // unmapped; atomics may be written by any number of threads and processes.
    let words = unsafe { std::slice::from_raw_parts(mapped.cast::<AtomicU64>(), bytes / 8) };
    // Sealed after it is mapped: its size is fixed for good, and from now on nobody can map it
    // writable or write to it through our descriptor. Kernels before 5.1 lack FUTURE_WRITE.
    let size = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, size | SealFlags::FUTURE_WRITE)
        .or_else(|_| rustix::fs::fcntl_add_seals(&file, size))?;

    let parts = Parts::over(words).ok_or_else(|| io::Error::other("the ledger's mapping has an odd size"))?;
    let header = parts.header;
    let set = |word: &AtomicU64, value: u64| word.store(value, Ordering::Relaxed);
    set(&header.version, u64::from(VERSION));
    set(&header.header_bytes, layout::HEADER_BYTES as u64);
    set(&header.name_capacity, NAME_CAPACITY as u64);
    set(&header.slot_bytes, layout::SLOT_BYTES as u64);
    set(&header.slot_count, slots as u64);
    set(&header.pid, u64::from(std::process::id()));
    set(&header.started_ns, crate::kernel::clock::monotonic().0);
    // Release: who sees the magic sees the rest of the header.
    header.magic.store(MAGIC, Ordering::Release);
    Ok(Segment {
        parts,
        hint: AtomicUsize::new(0),
        naming: Mutex::new(()),
        _file: ManuallyDrop::new(file),
    })
}

pub(super) fn intern(name: &str) -> u32 {
    let Some(segment) = segment() else { return 0 };
    if name.is_empty() {
        return 0;
    }
    let wanted = encode(name);
    let find = || {
        let names = segment.parts.names_used();
        names.iter().position(|known| known.bytes() == wanted)
    };
    if let Some(index) = find() {
        return index as u32 + 1;
    }
    let _one_at_a_time = segment.naming.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(index) = find() {
        return index as u32 + 1;
    }
    let used = segment.parts.names_used().len();
    let Some(free) = segment.parts.names.get(used) else {
        return 0;
    };
    free.set(&wanted);
    // Release: who sees the count sees the bytes.
    segment
        .parts
        .header
        .names_used
        .store(used as u64 + 1, Ordering::Release);
    used as u32 + 1
}
