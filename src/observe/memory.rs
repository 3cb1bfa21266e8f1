//! A process' mappings, classified into shared and per-thread.
//!
//! First each thread is asked where it stands (`task/TID/syscall` gives the stack pointer of a
//! blocked one), then `smaps` is read, so that a stack's resident pages are never older than its
//! depth. The kernel's own totals are read before and after. When they differ from the sum the
//! process has moved in between; we read again a few times, and then show both, as they are.
//!
//! What to hold against what: the virtual sizes add up to the size in `statm`, to the byte. So do
//! resident and private bytes with `smaps_rollup`. Proportional bytes fall short by less than a KiB
//! a mapping, as the kernel cuts each to whole KiB. The resident of `statm` is a counter that CPUs
//! batch, so it may be off by some dozens of pages. `[vsyscall]` is the kernel's page, mapped at
//! one address for all and charged to nobody: it is listed with no size.
//!
//! Whose a stack is: the main thread's by the kernel's name for it. Any other's by the word of the
//! threads library, whose control block lies at the top (`control_block`; glibc on x86-64, and we
//! must be allowed to read memory). Else by the stack pointer that is in it, and last by shape,
//! where one thread and one shape are left. Threads that share a mapping, which the kernel makes of
//! neighbours without a guard, get their bounds from their blocks; then the mapping has no owner.
//! When only the uppermost part of a mapping is stacks, it counts as what the rest is: heap.
//!
//! What an anonymous mapping is for is not written anywhere. Heap is what remains after stacks,
//! guards and zero-filled tails. A stack that no living thread stands on (glibc keeps some of ended
//! threads for the next ones) is called a stack without owner when its block says so, or its size
//! and guard equal those of a proven one; else it counts as heap.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::InspectError;
use super::bounds;
use super::control_block::{self, Block};
use super::glance;
use super::own_stack::{Guard, Named, Shape, Shapes};
use crate::kernel::elf;
use crate::kernel::maps::{self, Mapping};
use crate::kernel::pagemap::Pagemap;
use crate::kernel::process_vm;
use crate::kernel::smaps::{self, Figures};
use crate::kernel::{ProcRoot, clock};
use crate::model::{
    Evidence, MemoryBounds, MemoryMap, MemoryTotals, Pid, ProcessKey, Region, RegionKind, Sizes, StackUse, ThreadStack,
    Tid, Unknown,
};

/// How often a moving process is read before we show what we have.
const TRIES: u32 = 4;

/// No further try after this long: on a big process each costs its page tables.
const PATIENCE: Duration = Duration::from_millis(300);

/// Further looks at threads that were running, in the hope to meet them blocked.
const SECOND_LOOKS: u32 = 2;

/// A longer anonymous mapping behind a library's data is hardly its zero-filled tail. Used where the
/// library's headers cannot be read.
const LONGEST_TAIL: u64 = 1 << 20;

/// Program headers are on the first page of a file.
const HEAD_BYTES: usize = 4096;

/// A program is mapped in so many pieces at most.
const MOST_SEGMENTS: usize = 32;

/// A process may fill its memory with what looks like control blocks. More stacks than a machine
/// has threads are not looked at.
const MOST_STACKS: usize = 65_536;

/// Where glibc starts the heaps of its arenas; their unused room is inaccessible and looks like a guard.
const ARENA_ALIGNMENT: u64 = 64 << 20;

/// Reads `smaps` (or `maps` where that is denied) and finds each thread's stack.
pub(crate) fn read(root: &ProcRoot, pid: Pid) -> Result<MemoryMap, InspectError> {
    read_knowing(root, pid, |_| None)
}

/// The same with help: `seen` gives an address in the stack of a thread that was once seen
/// blocked, for when it runs now. The caller answers for the tid being still the same thread.
pub(crate) fn read_knowing(
    root: &ProcRoot,
    pid: Pid,
    seen: impl Fn(Tid) -> Option<u64>,
) -> Result<MemoryMap, InspectError> {
    look(root, pid, seen, true)
}

/// `ask_memory` false: as where the memory of the process may not be read.
fn look(
    root: &ProcRoot,
    pid: Pid,
    seen: impl Fn(Tid) -> Option<u64>,
    ask_memory: bool,
) -> Result<MemoryMap, InspectError> {
    let process = identify(root, pid)?;
    let page_bytes = rustix::param::page_size() as u64;
    let folder = match glance::memory_folder(root, pid) {
        Ok(folder) => folder,
        Err(unknown @ (Unknown::KernelThread | Unknown::Zombie)) => {
            return Ok(without_memory(root, process, unknown));
        }
        Err(unknown) => return Err(refused(root, pid, "task", unknown)),
    };

    let threads = look_at_threads(root, pid).map_err(|unknown| refused(root, pid, "task", unknown))?;
    let begun = Instant::now();
    let mut reading = Reading::default();
    let mut rollup = smaps::read_rollup(root, &folder);
    let mut totals;
    let taken_at = loop {
        reading.clear();
        let taken_at = clock::monotonic();
        reading.resident = reading.take_smaps(root, &folder);
        let before = rollup;
        rollup = smaps::read_rollup(root, &folder);
        // A tree captured elsewhere may have other pages than we do; `smaps` says so.
        let page_bytes = match reading.page_bytes {
            0 => page_bytes,
            captured => captured,
        };
        totals = glance::totals(root, &folder, page_bytes).map_err(|unknown| refused(root, pid, "statm", unknown))?;
        let sum = reading.sum();
        let equal = |figures: &Evidence<Figures>| match figures {
            Ok(figures) => figures.rss_bytes == sum.resident_bytes && figures.private_bytes() == sum.private_bytes,
            // Nothing to compare with.
            Err(_) => true,
        };
        if sum.virtual_bytes == totals.0 && equal(&rollup) {
            break taken_at;
        }
        if sum.virtual_bytes == totals.0 && equal(&before) {
            rollup = before;
            break taken_at;
        }
        reading.tries += 1;
        if root.is_captured() || reading.tries == TRIES || begun.elapsed() > PATIENCE {
            break taken_at;
        }
    };
    // The size was read last. When there is none the memory was given back on the way, and what was
    // read before may have been cut short.
    if totals.0 == 0 {
        return Err(InspectError::Ended(pid));
    }
    let resident = reading.resident;
    if resident.is_err() {
        reading.clear();
        if let Err(unknown) = reading.take_maps(root, &folder) {
            // Neither file: no mapping is known, and a sum over none would be a zero that is none.
            return Err(refused(root, pid, "maps", unknown));
        }
    }
    let told = if ask_memory {
        reading.ask_memory(root, pid, &folder, &threads)
    } else {
        Told::default()
    };
    // A pid that was reused meanwhile would mix two processes.
    match identify(root, pid) {
        Ok(now) if now == process => {}
        _ => return Err(InspectError::Ended(pid)),
    }

    let limit = glance::stack_limit(root, pid).ok();
    let (regions, owned) = reading.classify(pid, &threads, &told, seen, limit);
    let stacks = threads
        .into_iter()
        .zip(owned)
        .map(|(thread, found)| ThreadStack {
            tid: thread.tid,
            name: thread.name,
            stack: found.map(|(stack, _)| stack),
            found_by: found.ok().map(|(_, found_by)| found_by),
        })
        .collect();
    Ok(MemoryMap {
        process,
        taken_at,
        regions,
        stacks,
        totals: MemoryTotals {
            rollup: rollup.map(|figures| sizes(totals.0, &figures)),
            statm_virtual_bytes: totals.0,
            statm_resident_bytes: totals.1,
        },
        bounds: bounds::read(root, &folder),
        resident_known: resident,
    })
}

fn identify(root: &ProcRoot, pid: Pid) -> Result<ProcessKey, InspectError> {
    match glance::stat(root, &root.process(pid)) {
        Ok(glance) => Ok(ProcessKey {
            pid,
            start: glance.start,
        }),
        Err(Unknown::NotCaptured) if root.process(pid).exists() => {
            Err(refused(root, pid, "stat", Unknown::NotCaptured))
        }
        Err(Unknown::Gone | Unknown::NotCaptured) => Err(InspectError::NoProcess(pid)),
        Err(unknown) => Err(refused(root, pid, "stat", unknown)),
    }
}

fn refused(root: &ProcRoot, pid: Pid, file: &str, unknown: Unknown) -> InspectError {
    match unknown {
        Unknown::PtraceDenied | Unknown::Denied => InspectError::Denied(pid),
        Unknown::Gone => InspectError::Ended(pid),
        other => InspectError::Unreadable {
            path: root.process(pid).join(file).display().to_string(),
            source: io::Error::other(other.why()),
        },
    }
}

/// A kernel thread or a zombie: there is nothing to map, and that is known.
fn without_memory(root: &ProcRoot, process: ProcessKey, unknown: Unknown) -> MemoryMap {
    let tids = glance::tids(root, process.pid).unwrap_or_default();
    let stacks = tids
        .into_iter()
        .map(|tid| ThreadStack {
            tid,
            name: glance::name(root, &root.thread(process.pid, tid)).unwrap_or_default(),
            stack: Err(unknown),
            found_by: None,
        })
        .collect();
    MemoryMap {
        process,
        taken_at: clock::monotonic(),
        regions: Vec::new(),
        stacks,
        totals: MemoryTotals {
            rollup: Err(unknown),
            statm_virtual_bytes: 0,
            statm_resident_bytes: 0,
        },
        bounds: MemoryBounds {
            peak_resident_bytes: Err(unknown),
            data_limit: Err(unknown),
            address_space_limit: Err(unknown),
        },
        resident_known: Err(unknown),
    }
}

struct Stander {
    tid: Tid,
    name: Arc<str>,
    stack_pointer: Evidence<u64>,
}

fn look_at_threads(root: &ProcRoot, pid: Pid) -> Evidence<Vec<Stander>> {
    let mut threads = Vec::new();
    for tid in glance::tids(root, pid)? {
        let stack_pointer = glance::stack_pointer(root, pid, tid);
        let name = glance::name(root, &root.thread(pid, tid));
        // Ended since it was listed: it is no longer one of the process' threads.
        if name == Err(Unknown::Gone) || stack_pointer == Err(Unknown::Gone) {
            continue;
        }
        threads.push(Stander {
            tid,
            name: name.unwrap_or_default(),
            stack_pointer,
        });
    }
    for _ in 0..SECOND_LOOKS {
        for thread in threads
            .iter_mut()
            .filter(|thread| thread.stack_pointer == Err(Unknown::Running))
        {
            if let Ok(address) = glance::stack_pointer(root, pid, thread.tid) {
                thread.stack_pointer = Ok(address);
            }
        }
    }
    Ok(threads)
}

fn sizes(virtual_bytes: u64, figures: &Figures) -> Sizes {
    Sizes {
        virtual_bytes,
        resident_bytes: figures.rss_bytes,
        proportional_bytes: figures.pss_bytes,
        private_bytes: figures.private_bytes(),
    }
}

/// What the memory of the process says of its mappings. Empty where it may not be read.
#[derive(Default)]
struct Told {
    chains: Vec<Chain>,
    /// The place of an anonymous mapping behind a program's data, and how much of it the program's
    /// headers claim.
    tails: HashMap<usize, u64>,
}

/// The stacks that control blocks describe at the upper end of one mapping, from the highest down.
struct Chain {
    /// The place of the region.
    region: usize,
    links: Vec<Link>,
}

struct Link {
    block: Block,
    /// The place of its thread in the list; `None` when that has ended.
    thread: Option<usize>,
    resident_bytes: Evidence<u64>,
}

impl Chain {
    /// Whether the mapping is these stacks and nothing else.
    fn covers(&self, region: &Region) -> bool {
        self.links
            .last()
            .is_some_and(|lowest| lowest.block.start - lowest.block.guard_bytes <= region.start)
    }
}

/// A thread's stack, and how it was found.
type Found = Evidence<(StackUse, &'static str)>;

/// Which part of which file is behind a mapping.
#[derive(Clone, Copy)]
struct Backing {
    file: FileKey,
    offset: u64,
}

/// Device and inode.
type FileKey = ((u32, u32), u64);

/// One pass over the mappings, before they have a meaning.
struct Reading {
    regions: Vec<Region>,
    /// Beside each region: the file behind it, or none.
    files: Vec<Option<Backing>>,
    /// What has the shape of a stack, with the place of its region.
    shapes: Vec<(Shape, usize)>,
    names: HashMap<Box<[u8]>, Arc<str>>,
    page_bytes: u64,
    resident: Evidence<()>,
    tries: u32,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            regions: Vec::new(),
            files: Vec::new(),
            shapes: Vec::new(),
            names: HashMap::new(),
            page_bytes: 0,
            resident: Err(Unknown::NotAsked),
            tries: 0,
        }
    }
}

impl Reading {
    /// Keeps the room: when we read ourselves, a second pass must not move what it reads.
    fn clear(&mut self) {
        self.regions.clear();
        self.files.clear();
        self.shapes.clear();
    }

    fn take_smaps(&mut self, root: &ProcRoot, folder: &Path) -> Evidence<()> {
        let mut shapes = Shapes::default();
        let read = smaps::read(root, folder, |mapping, figures| self.add(&mut shapes, mapping, figures));
        match read {
            // The process lives (we have just seen its folder), so the kernel has no such file.
            Err(Unknown::Gone) if folder.exists() && !folder.join("smaps").exists() => Err(Unknown::NoKernelSupport),
            other => other,
        }
    }

    fn take_maps(&mut self, root: &ProcRoot, folder: &Path) -> Evidence<()> {
        let mut shapes = Shapes::default();
        maps::read(root, folder, |mapping| {
            self.add(&mut shapes, mapping, &Figures::default());
        })
    }

    fn add(&mut self, shapes: &mut Shapes, mapping: &Mapping<'_>, figures: &Figures) {
        if let Some(shape) = shapes.next(mapping) {
            self.shapes.push((shape, self.regions.len()));
        }
        if figures.page_bytes > 0 && (self.page_bytes == 0 || figures.page_bytes < self.page_bytes) {
            self.page_bytes = figures.page_bytes;
        }
        let name = self.name(mapping.name);
        let charged = if mapping.name == b"[vsyscall]" {
            0
        } else {
            mapping.size_bytes()
        };
        self.files.push((mapping.inode != 0).then_some(Backing {
            file: (mapping.device, mapping.inode),
            offset: mapping.offset,
        }));
        self.regions.push(Region {
            start: mapping.start,
            end: mapping.end,
            kind: kind_by_name(mapping),
            permissions: mapping.permissions,
            name,
            owner: None,
            found_by: None,
            sizes: sizes(charged, figures),
        });
    }

    /// One text for each name: thousands of mappings share a few.
    fn name(&mut self, bytes: &[u8]) -> Arc<str> {
        if let Some(name) = self.names.get(bytes) {
            return name.clone();
        }
        let name: Arc<str> = String::from_utf8_lossy(bytes).into();
        self.names.insert(bytes.into(), name.clone());
        name
    }

    fn sum(&self) -> Sizes {
        self.regions
            .iter()
            .fold(Sizes::default(), |sum, region| sum.plus(region.sizes))
    }

    /// Looks for control blocks where stacks may be: in what has the shape of one, and wherever a
    /// thread stands. Finds nothing where memory may not be read.
    fn ask_memory(&self, root: &ProcRoot, pid: Pid, folder: &Path, threads: &[Stander]) -> Told {
        // The main thread may have ended: then memory is read through the one whose folder this is.
        let through = glance::reader_of(folder);
        let (false, Some(through), Ok(pages)) = (root.is_captured(), through, Pagemap::open(folder)) else {
            return Told::default();
        };
        let mut places: BTreeSet<usize> = self
            .shapes
            .iter()
            .filter(|(shape, _)| shape.named != Named::Main)
            .map(|(_, region)| *region)
            .collect();
        for address in threads.iter().filter_map(|thread| thread.stack_pointer.ok()) {
            let after = self.regions.partition_point(|region| region.start <= address);
            if let Some(region) = after.checked_sub(1)
                && address < self.regions[region].end
                && self.regions[region].kind == RegionKind::Heap
                && &*self.regions[region].name != "[heap]"
            {
                places.insert(region);
            }
        }
        // Only pages that are in memory: a look must not make the process larger.
        let read = |address: u64, into: &mut [u8]| {
            pages
                .resident_bytes(address, address + into.len() as u64)
                .is_ok_and(|resident| resident >= into.len() as u64)
                && process_vm::read(through, address, into).is_ok_and(|length| length == into.len())
        };
        let by_tid = glance::own_tids(root, pid, threads.iter().map(|thread| thread.tid));
        let mut chains = Vec::new();
        let mut left = MOST_STACKS;
        for region in places {
            let (start, end) = (self.regions[region].start, self.regions[region].end);
            let links: Vec<Link> = control_block::stacks_within(read, start, end, left)
                .into_iter()
                .map(|block| Link {
                    block,
                    thread: by_tid.get(&block.tid).copied(),
                    resident_bytes: pages
                        .resident_bytes(block.start, block.end)
                        .map_err(|error| maps::refusal(root, &error)),
                })
                .collect();
            left -= links.len();
            if !links.is_empty() {
                chains.push(Chain { region, links });
            }
        }
        Told {
            chains,
            tails: self.ask_for_tails(read),
        }
    }

    /// Reads the headers of each program that has anonymous memory right behind its data.
    fn ask_for_tails(&self, read: impl Fn(u64, &mut [u8]) -> bool) -> HashMap<usize, u64> {
        let page_bytes = rustix::param::page_size() as u64;
        let mut tails = HashMap::new();
        let mut head = [0; HEAD_BYTES];
        for (tail, data) in tails_of(&self.regions, &self.files) {
            let file = self.files[data].map(|backing| backing.file);
            // The page with the headers is the beginning of the same file, mapped below the data.
            let first = (0..=data)
                .rev()
                .take(MOST_SEGMENTS)
                .find(|at| self.files[*at].is_some_and(|backing| Some(backing.file) == file && backing.offset == 0));
            if let Some(first) = first
                && read(self.regions[first].start, &mut head)
                && head.starts_with(b"\x7fELF")
            {
                tails.insert(tail, elf::parse_tail(&head, page_bytes).unwrap_or(0));
            }
        }
        tails
    }

    /// Gives every region its kind and every thread its stack, in the order of `threads`.
    fn classify(
        self,
        pid: Pid,
        threads: &[Stander],
        told: &Told,
        seen: impl Fn(Tid) -> Option<u64>,
        stack_limit: Option<u64>,
    ) -> (Vec<Region>, Vec<Found>) {
        let resident_known = self.resident;
        let Reading {
            mut regions,
            files,
            shapes,
            ..
        } = self;
        classify_files(&mut regions, &files, &told.tails);

        let mut owners = Owners::new(&shapes, threads.len());
        owners.by_block(&told.chains);
        owners.by_name(pid, threads);
        owners.by_stack_pointer(threads, seen);
        let (known_sizes, known_guards) = owners.proven(stack_limit);
        let nobodys = owners.by_elimination(threads, &regions, &known_sizes, &known_guards);

        let mut stacks: Vec<Found> = threads
            .iter()
            .map(|thread| Err(thread.stack_pointer.err().unwrap_or(Unknown::NoStackFound)))
            .collect();
        for (at, owner) in owners.of_shape.iter().enumerate() {
            let (shape, region) = shapes[at];
            let (tid, found_by) = match owner {
                Some((thread, found_by)) => {
                    let thread = &threads[*thread];
                    (Some(thread.tid), *found_by)
                }
                None if nobodys.contains(&at) => (None, "guess"),
                None => continue,
            };
            if let Some((thread, _)) = owner {
                let resident = resident_known.map(|()| regions[region].sizes.resident_bytes);
                stacks[*thread] = Ok((shape.at(threads[*thread].stack_pointer, resident), found_by));
            }
            regions[region].kind = RegionKind::Stack;
            regions[region].owner = tid;
            regions[region].found_by = Some(found_by);
            if matches!(shape.guard, Guard::Own(_)) {
                let guard = &mut regions[region - 1];
                guard.kind = RegionKind::Guard;
                guard.owner = tid;
                guard.found_by = Some(found_by);
            }
        }
        for chain in &told.chains {
            told_by_blocks(chain, threads, resident_known, &mut regions, &mut stacks);
        }
        // A main thread that has ended leaves its stack to nobody, but a stack it is.
        for (shape, region) in &shapes {
            if shape.named == Named::Main && regions[*region].kind != RegionKind::Stack {
                regions[*region].kind = RegionKind::Stack;
                regions[*region].found_by = Some("exact");
            }
        }
        (regions, stacks)
    }
}

/// What control blocks say of one mapping and of its threads.
fn told_by_blocks(
    chain: &Chain,
    threads: &[Stander],
    resident_known: Evidence<()>,
    regions: &mut [Region],
    stacks: &mut [Found],
) {
    let region = &regions[chain.region];
    let whole = chain.covers(region) && chain.links.len() == 1;
    for link in &chain.links {
        let Some(thread) = link.thread else { continue };
        let Block {
            start,
            end,
            guard_bytes,
            ..
        } = link.block;
        let resident_bytes = match resident_known {
            Ok(()) if whole => Ok(region.sizes.resident_bytes),
            _ => link.resident_bytes,
        };
        let stack = StackUse {
            start,
            end,
            reserved_bytes: end - start,
            resident_bytes,
            used_bytes: Err(Unknown::NotAsked),
            guard_bytes: (guard_bytes > 0).then_some(guard_bytes),
        };
        stacks[thread] = Ok((stack.at(threads[thread].stack_pointer), "exact"));
    }
    if !chain.covers(region) {
        return;
    }
    let owner_of = |link: &Link| link.thread.map(|thread| threads[thread].tid);
    let start = region.start;
    let owner = if whole { owner_of(&chain.links[0]) } else { None };
    let region = &mut regions[chain.region];
    region.kind = RegionKind::Stack;
    region.owner = owner;
    region.found_by = Some("exact");
    // The guard is a mapping of its own, unless it has melted into reserved room.
    if let Some(lowest) = chain.links.last()
        && let Some(below) = chain.region.checked_sub(1)
        && regions[below].end == start
        && regions[below].start == lowest.block.start - lowest.block.guard_bytes
        && regions[below].permissions.starts_with(b"---")
    {
        regions[below].kind = RegionKind::Guard;
        regions[below].owner = owner_of(lowest);
        regions[below].found_by = Some("exact");
    }
}

/// Whose stack each shape is.
struct Owners<'a> {
    shapes: &'a [(Shape, usize)],
    /// The place of the thread in the list, and how it was found.
    of_shape: Vec<Option<(usize, &'static str)>>,
    has_stack: Vec<bool>,
    /// Shapes that are not to be given away: blocks have told whose they are, or several threads
    /// stand in them.
    settled: HashSet<usize>,
    /// Size and guard of stacks that blocks describe.
    described: Vec<(u64, u64)>,
}

impl Owners<'_> {
    fn new(shapes: &[(Shape, usize)], threads: usize) -> Owners<'_> {
        Owners {
            shapes,
            of_shape: vec![None; shapes.len()],
            has_stack: vec![false; threads],
            settled: HashSet::new(),
            described: Vec::new(),
        }
    }

    fn give(&mut self, shape: usize, thread: usize, found_by: &'static str) {
        self.of_shape[shape] = Some((thread, found_by));
        self.has_stack[thread] = true;
    }

    fn shape_at(&self, address: u64) -> Option<usize> {
        let after = self.shapes.partition_point(|(shape, _)| shape.start <= address);
        (after > 0 && self.shapes[after - 1].0.holds(address)).then(|| after - 1)
    }

    fn by_name(&mut self, pid: Pid, threads: &[Stander]) {
        for at in 0..self.shapes.len() {
            let tid = match self.shapes[at].0.named {
                Named::No => continue,
                Named::Main => pid.0,
                Named::Thread(tid) => tid,
            };
            let Ok(thread) = threads.binary_search_by_key(&tid, |thread| thread.tid.0) else {
                continue;
            };
            // A process forked by a thread: its main thread stands on the copy of that one's stack,
            // and what bears the name is left over.
            let elsewhere = threads[thread]
                .stack_pointer
                .ok()
                .and_then(|address| self.shape_at(address));
            if !self.has_stack[thread] && elsewhere.is_none_or(|shape| shape == at) {
                self.give(at, thread, "exact");
            }
        }
    }

    fn by_block(&mut self, chains: &[Chain]) {
        for chain in chains {
            if let Ok(at) = self.shapes.binary_search_by_key(&chain.region, |(_, region)| *region) {
                self.settled.insert(at);
            }
            for link in &chain.links {
                self.described
                    .push((link.block.end - link.block.start, link.block.guard_bytes));
                if let Some(thread) = link.thread {
                    self.has_stack[thread] = true;
                }
            }
        }
    }

    /// A shape in which two threads stand is a mapping that the kernel merged: nobody's then.
    fn by_stack_pointer(&mut self, threads: &[Stander], seen: impl Fn(Tid) -> Option<u64>) {
        let mut standing: Vec<(usize, usize)> = Vec::new();
        for (at, thread) in threads.iter().enumerate().filter(|(at, _)| !self.has_stack[*at]) {
            let address = thread.stack_pointer.ok().or_else(|| seen(thread.tid));
            standing.extend(
                address
                    .and_then(|address| self.shape_at(address))
                    .map(|shape| (shape, at)),
            );
        }
        standing.sort_unstable();
        for here in standing.chunk_by(|one, other| one.0 == other.0) {
            match here {
                [(shape, thread)]
                    if self.of_shape[*shape].is_none()
                        && !self.settled.contains(shape)
                        && self.shapes[*shape].0.named == Named::No =>
                {
                    self.give(*shape, *thread, "stack_pointer");
                }
                several => self.settled.extend(several.iter().map(|(shape, _)| *shape)),
            }
        }
    }

    /// Sizes and guards of the stacks that are proven; where there are none, those that the
    /// threads library gives by default.
    fn proven(&self, stack_limit: Option<u64>) -> (HashSet<u64>, HashSet<u64>) {
        let proven = self
            .shapes
            .iter()
            .zip(&self.of_shape)
            .filter_map(|((shape, _), owner)| {
                let Guard::Own(guard) = shape.guard else { return None };
                owner.map(|_| (shape.size_bytes(), guard))
            });
        let (mut sizes, mut guards): (HashSet<u64>, HashSet<u64>) =
            proven.chain(self.described.iter().copied()).unzip();
        if sizes.is_empty() {
            sizes.extend(stack_limit);
            guards.insert(rustix::param::page_size() as u64);
        }
        (sizes, guards)
    }

    /// One thread without a stack and one shape without a thread belong together, if nothing else
    /// could. Gives back the shapes that are surely stacks, but nobody's that we could name.
    fn by_elimination(
        &mut self,
        threads: &[Stander],
        regions: &[Region],
        known_sizes: &HashSet<u64>,
        known_guards: &HashSet<u64>,
    ) -> HashSet<usize> {
        let free: Vec<usize> = (0..self.shapes.len())
            .filter(|at| {
                let (shape, region) = self.shapes[*at];
                let is_arena = shape.start.is_multiple_of(ARENA_ALIGNMENT)
                    && regions
                        .get(region + 1)
                        .is_some_and(|next| next.start == shape.end && next.permissions.starts_with(b"---"));
                self.of_shape[*at].is_none()
                    && !self.settled.contains(at)
                    && shape.named == Named::No
                    && matches!(shape.guard, Guard::Own(_))
                    && !is_arena
            })
            .collect();
        // A thread whose stack pointer we saw stands elsewhere: it is not a candidate.
        let lost: Vec<usize> = (0..threads.len())
            .filter(|at| !self.has_stack[*at] && threads[*at].stack_pointer.is_err())
            .collect();
        if let ([shape], [thread]) = (free.as_slice(), lost.as_slice()) {
            self.give(*shape, *thread, "guess");
            return HashSet::new();
        }
        free.into_iter()
            .filter(|at| {
                let shape = self.shapes[*at].0;
                let Guard::Own(guard) = shape.guard else { return false };
                known_sizes.contains(&shape.size_bytes()) && known_guards.contains(&guard)
            })
            .collect()
    }
}

/// What the mapping's own name and permissions say; what its neighbours say comes after.
fn kind_by_name(mapping: &Mapping<'_>) -> RegionKind {
    const KERNEL: [&[u8]; 7] = [
        b"[vdso]",
        b"[vvar]",
        b"[vvar_vclock]",
        b"[vsyscall]",
        b"[vectors]",
        b"[sigpage]",
        b"[uprobes]",
    ];
    let name = mapping.name;
    if mapping.is_anonymous() || name == b"[heap]" || name.starts_with(b"/anon_hugepage") {
        // Huge pages may be mapped as shared memory by the same name.
        return if mapping.is_shared() {
            RegionKind::SharedMemory
        } else {
            RegionKind::Heap
        };
    }
    if KERNEL.contains(&name) {
        return RegionKind::Kernel;
    }
    if is_shared_memory(mapping) {
        return RegionKind::SharedMemory;
    }
    if name.starts_with(b"[") || name.starts_with(b"anon_inode:") || name.starts_with(b"socket:") {
        return RegionKind::Other;
    }
    if mapping.inode == 0 && name.is_empty() {
        return RegionKind::Other;
    }
    if !mapping.is_shared() && mapping.is_writable() {
        return RegionKind::Globals;
    }
    RegionKind::MappedFile
}

/// Memory that lives in the page cache with no file on a disk behind it.
fn is_shared_memory(mapping: &Mapping<'_>) -> bool {
    const PLACES: [&[u8]; 5] = [
        b"/memfd:",
        b"/dev/shm/",
        b"/SYSV",
        b"[anon_shmem:",
        // Shared anonymous memory is a deleted file of the kernel's own.
        b"/dev/zero",
    ];
    PLACES.iter().any(|place| mapping.name.starts_with(place))
}

/// Files that are run: only private mappings make one a program, as a shared one may hold data
/// that somebody else runs.
fn programs(regions: &[Region], files: &[Option<Backing>]) -> HashSet<FileKey> {
    let run = regions
        .iter()
        .zip(files)
        .filter(|(region, _)| region.permissions.ends_with(b"xp"));
    run.filter_map(|(_, backing)| Some(backing.as_ref()?.file)).collect()
}

/// Anonymous memory right behind a private mapping of a program, each with that mapping's place.
fn tails_of(regions: &[Region], files: &[Option<Backing>]) -> Vec<(usize, usize)> {
    let programs = programs(regions, files);
    let is_tail = |at: &usize| {
        let (data, tail) = (&regions[at - 1], &regions[*at]);
        data.end == tail.start
            && files[*at].is_none()
            && tail.permissions.starts_with(b"rw-p")
            && (tail.name.is_empty() || &*tail.name == "[anon:.bss]")
            && data.permissions.ends_with(b"p")
            && files[at - 1].is_some_and(|backing| programs.contains(&backing.file))
    };
    (1..regions.len()).filter(is_tail).map(|at| (at, at - 1)).collect()
}

/// Code, its read-only data, and the zero-filled tails of writable data.
fn classify_files(regions: &mut [Region], files: &[Option<Backing>], known_tails: &HashMap<usize, u64>) {
    let programs = programs(regions, files);
    // The first program in the map is the executable itself: its tail may be of any length, as
    // nothing but the brk heap, which has a name, is mapped behind it.
    let executable = files
        .iter()
        .flatten()
        .find(|backing| programs.contains(&backing.file))
        .map(|backing| backing.file);
    for (tail, data) in tails_of(regions, files) {
        let size = regions[tail].end - regions[tail].start;
        let is_tail = match known_tails.get(&tail) {
            // The kernel may have merged it with its neighbour above: the larger part decides.
            Some(claimed) => *claimed >= size / 2,
            None => size <= LONGEST_TAIL || files[data].map(|backing| backing.file) == executable,
        };
        if is_tail {
            regions[tail].kind = RegionKind::Globals;
        }
    }
    for (region, backing) in regions.iter_mut().zip(files) {
        if backing.is_some_and(|backing| programs.contains(&backing.file)) && region.permissions.ends_with(b"p") {
            region.kind = if region.permissions[1] == b'w' {
                RegionKind::Globals
            } else {
                RegionKind::Code
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::maps::parse_line;
    use std::fmt::Write as _;
    use std::fs::File;
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::AsRawFd;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;
    use std::thread;

    fn stander(tid: u32, stack_pointer: Evidence<u64>) -> Stander {
        Stander {
            tid: Tid(tid),
            name: "".into(),
            stack_pointer,
        }
    }

    fn reading_of(lines: &str) -> Reading {
        let (mut reading, mut shapes) = (Reading::default(), Shapes::default());
        for line in lines.lines() {
            let mapping = parse_line(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            let figures = Figures {
                rss_bytes: 4096,
                ..Figures::default()
            };
            reading.add(&mut shapes, &mapping, &figures);
        }
        reading.resident = Ok(());
        reading
    }

    fn kinds_of(lines: &str) -> Vec<RegionKind> {
        let (regions, _) = reading_of(lines).classify(Pid(1), &[], &Told::default(), |_| None, None);
        regions.iter().map(|region| region.kind).collect()
    }

    fn check_kind(line: &str, expected: RegionKind) {
        assert_eq!(kinds_of(line), [expected], "{line}");
    }

    #[test]
    fn a_mapping_alone_is_told_by_its_name() {
        use RegionKind::*;
        check_kind("1000-2000 rw-p 00000000 00:00 0 [heap]", Heap);
        check_kind("1000-2000 rw-p 00000000 00:00 0", Heap);
        check_kind("1000-2000 rw-p 00000000 00:00 0 [anon:scudo:primary]", Heap);
        check_kind("1000-2000 ---p 00000000 00:00 0", Heap);
        check_kind("1000-2000 rwxp 00000000 00:00 0", Heap);
        check_kind("1000-2000 rw-p 00000000 00:0e 22 /anon_hugepage (deleted)", Heap);
        check_kind("1000-2000 r-xp 00000000 fe:00 7 /bin/true", Code);
        check_kind("1000-2000 rw-p 00000000 fe:00 7 /tmp/private copy", Globals);
        check_kind(
            "1000-2000 r--p 00000000 fe:00 7 /usr/lib/locale/locale-archive",
            MappedFile,
        );
        check_kind("1000-2000 rw-s 00000000 fe:00 7 /var/db (deleted)", MappedFile);
        check_kind("1000-2000 rw-s 00000000 00:06 7 /dev/nvidia0", MappedFile);
        check_kind(
            "1000-2000 rw-s 00000000 00:01 7 /memfd:two\\012lines (deleted)",
            SharedMemory,
        );
        check_kind("1000-2000 rw-p 00000000 00:01 7 /memfd:private (deleted)", SharedMemory);
        check_kind("1000-2000 rw-s 00000000 00:15 7 /dev/shm/queue", SharedMemory);
        check_kind(
            "1000-2000 rw-s 00000000 00:01 98309 /SYSV0000002a (deleted)",
            SharedMemory,
        );
        check_kind("1000-2000 rw-s 00000000 00:01 7 /dev/zero (deleted)", SharedMemory);
        check_kind("1000-2000 rw-s 00000000 00:01 7 [anon_shmem:ring]", SharedMemory);
        check_kind("1000-2000 rw-s 00000000 00:0f 7 anon_inode:[io_uring]", Other);
        check_kind("1000-2000 rw-s 00000000 00:08 7 socket:[77]", Other);
        check_kind("1000-2000 r-xp 00000000 00:00 0 [vdso]", Kernel);
        check_kind("1000-2000 r--p 00000000 00:00 0 [vvar_vclock]", Kernel);
        check_kind("1000-2000 rw-p 00000000 00:00 0 [stack]", Stack);
        check_kind("1000-2000 rw-p 00000000 00:00 0 [something new]", Other);
    }

    #[test]
    fn a_program_run_from_memory_is_a_program() {
        use RegionKind::*;
        let kinds = kinds_of(
            "1000-2000 r-xp 00000000 00:01 7 /memfd:runc (deleted)\n\
             2000-3000 rw-p 00001000 00:01 7 /memfd:runc (deleted)",
        );
        assert_eq!(kinds, [Code, Globals]);
    }

    #[test]
    fn a_zero_filled_tail_follows_the_data_of_its_library() {
        use RegionKind::*;
        let kinds = kinds_of(
            "400000-401000 r-xp 00000000 fe:00 5 /bin/app\n\
             401000-402000 rw-p 00001000 fe:00 5 /bin/app\n\
             402000-9402000 rw-p 00000000 00:00 0\n\
             7f0000000000-7f0000001000 r--p 00000000 fe:00 7 /lib/x.so\n\
             7f0000001000-7f0000002000 r-xp 00001000 fe:00 7 /lib/x.so\n\
             7f0000002000-7f0000003000 r--p 00002000 fe:00 7 /lib/x.so\n\
             7f0000003000-7f0000004000 rw-p 00003000 fe:00 7 /lib/x.so\n\
             7f0000004000-7f0000008000 rw-p 00000000 00:00 0\n\
             7f0000009000-7f000000a000 rw-p 00000000 00:00 0\n\
             7f0000010000-7f0000011000 r-xp 00000000 fe:00 8 /lib/y.so\n\
             7f0000011000-7f0000411000 rw-p 00000000 00:00 0",
        );
        // The last is too long for a tail; the one before it has a hole below.
        let expected = [
            Code, Globals, Globals, Code, Code, Code, Globals, Globals, Heap, Code, Heap,
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn what_a_program_says_of_its_tail_decides() {
        let lines = "7f0000000000-7f0000001000 r-xp 00000000 fe:00 7 /lib/x.so\n\
             7f0000001000-7f0000002000 rw-p 00001000 fe:00 7 /lib/x.so\n\
             7f0000002000-7f0000802000 rw-p 00000000 00:00 0";
        let kind_with = |claimed| {
            let told = Told {
                tails: HashMap::from([(2, claimed)]),
                ..Told::default()
            };
            reading_of(lines).classify(Pid(1), &[], &told, |_| None, None).0[2].kind
        };
        assert_eq!(kind_with(0), RegionKind::Heap);
        assert_eq!(kind_with(0x1000), RegionKind::Heap);
        assert_eq!(kind_with(0x80_0000), RegionKind::Globals);
    }

    const TWO_STACKS: &str = "\
7f0000000000-7f0000001000 ---p 00000000 00:00 0
7f0000001000-7f0000801000 rw-p 00000000 00:00 0
7f0000801000-7f0000802000 ---p 00000000 00:00 0
7f0000802000-7f0001002000 rw-p 00000000 00:00 0
7f0002000000-7f0002001000 ---p 00000000 00:00 0
7f0002001000-7f0002011000 rw-p 00000000 00:00 0
7ffe823d7000-7ffe823f8000 rw-p 00000000 00:00 0 [stack]";

    fn owners_of(lines: &str, threads: &[Stander], seen: &[(u32, u64)]) -> Vec<(u64, Option<u32>, &'static str)> {
        let seen: HashMap<u32, u64> = seen.iter().copied().collect();
        let (regions, stacks) = reading_of(lines).classify(
            Pid(1),
            threads,
            &Told::default(),
            |tid| seen.get(&tid.0).copied(),
            Some(8 << 20),
        );
        assert_eq!(stacks.len(), threads.len());
        for (thread, stack) in threads.iter().zip(&stacks) {
            let owned = regions
                .iter()
                .find(|region| region.owner == Some(thread.tid) && region.kind == RegionKind::Stack);
            assert_eq!(
                stack.ok().map(|(stack, found_by)| (stack.start, Some(found_by))),
                owned.map(|region| (region.start, region.found_by))
            );
        }
        regions
            .iter()
            .filter(|region| region.kind == RegionKind::Stack)
            .map(|region| (region.start, region.owner.map(|tid| tid.0), region.found_by.unwrap()))
            .collect()
    }

    const MAIN: (u64, Option<u32>, &str) = (0x7ffe_823d_7000, Some(1), "exact");

    #[test]
    fn a_stack_is_its_threads_who_stands_in_it() {
        let threads = [
            stander(1, Err(Unknown::Running)),
            stander(7, Ok(0x7f00_0080_0000)),
            stander(8, Ok(0x7f00_0100_0000)),
        ];
        let found = owners_of(TWO_STACKS, &threads, &[]);
        let expected = [
            (0x7f00_0000_1000, Some(7), "stack_pointer"),
            (0x7f00_0080_2000, Some(8), "stack_pointer"),
            MAIN,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_last_stack_left_is_the_last_threads() {
        let threads = [
            stander(1, Ok(0x7ffe_823f_0000)),
            stander(7, Ok(0x7f00_0080_0000)),
            stander(8, Ok(0x7f00_0100_0000)),
            stander(9, Err(Unknown::Running)),
        ];
        assert!(owners_of(TWO_STACKS, &threads, &[]).contains(&(0x7f00_0200_1000, Some(9), "guess")));
    }

    #[test]
    fn of_two_running_threads_neither_is_given_a_stack() {
        let threads = [
            stander(1, Err(Unknown::Running)),
            stander(7, Err(Unknown::Running)),
            stander(8, Err(Unknown::Running)),
        ];
        // Both have the default size and so are stacks; whose, nobody knows.
        let found = owners_of(TWO_STACKS, &threads, &[]);
        let expected = [
            (0x7f00_0000_1000, None, "guess"),
            (0x7f00_0080_2000, None, "guess"),
            MAIN,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_running_thread_that_was_once_seen_blocked_keeps_its_stack() {
        let threads = [
            stander(1, Err(Unknown::Running)),
            stander(7, Err(Unknown::Running)),
            stander(8, Err(Unknown::Running)),
        ];
        let found = owners_of(TWO_STACKS, &threads, &[(7, 0x7f00_0000_1000), (8, 0x7f00_0200_2000)]);
        assert!(found.contains(&(0x7f00_0000_1000, Some(7), "stack_pointer")));
        assert!(found.contains(&(0x7f00_0200_1000, Some(8), "stack_pointer")));
        assert!(found.contains(&(0x7f00_0080_2000, None, "guess")), "an ended thread's");
    }

    #[test]
    fn a_mapping_in_which_two_threads_stand_is_neithers() {
        let threads = [
            stander(1, Err(Unknown::Running)),
            stander(7, Ok(0x7f00_0080_0000)),
            stander(8, Ok(0x7f00_0070_0000)),
        ];
        assert_eq!(
            owners_of(TWO_STACKS, &threads, &[]),
            [(0x7f00_0080_2000, None, "guess"), MAIN]
        );
    }

    #[test]
    fn the_child_of_a_thread_stands_on_the_copy_of_its_stack() {
        let threads = [stander(1, Ok(0x7f00_0080_0000))];
        let found = owners_of(TWO_STACKS, &threads, &[]);
        assert!(
            found.contains(&(0x7f00_0000_1000, Some(1), "stack_pointer")),
            "{found:?}"
        );
        assert!(found.contains(&(0x7ffe_823d_7000, None, "exact")), "{found:?}");
    }

    #[test]
    fn the_heaps_of_two_arenas_are_no_stacks() {
        let threads = [stander(1, Err(Unknown::Running)), stander(7, Err(Unknown::Running))];
        let found = owners_of(
            "7f0000021000-7f0004000000 ---p 00000000 00:00 0\n\
             7f0004000000-7f0007ff0000 rw-p 00000000 00:00 0\n\
             7f0007ff0000-7f0008000000 ---p 00000000 00:00 0\n\
             7f0008000000-7f0008021000 rw-p 00000000 00:00 0\n\
             7f0008021000-7f000c000000 ---p 00000000 00:00 0",
            &threads,
            &[],
        );
        assert_eq!(found, []);
    }

    fn capture(name: &str) -> ProcRoot {
        ProcRoot::captured(format!("{}/tests/proc/{name}", env!("CARGO_MANIFEST_DIR")))
    }

    fn check_sums(map: &MemoryMap) {
        let sum = map
            .regions
            .iter()
            .fold(Sizes::default(), |sum, region| sum.plus(region.sizes));
        let rollup = map.totals.rollup.unwrap();
        assert_eq!(sum.virtual_bytes, map.totals.statm_virtual_bytes);
        assert_eq!(sum.resident_bytes, rollup.resident_bytes);
        assert_eq!(sum.private_bytes, rollup.private_bytes);
    }

    /// The kernel rounds each mapping's share down. Captures only: while a process lives, others that
    /// map the same files come and go, and its shares change between two readings.
    fn check_rounding(map: &MemoryMap) {
        let sum = map
            .regions
            .iter()
            .fold(Sizes::default(), |sum, region| sum.plus(region.sizes));
        let cut = map.totals.rollup.unwrap().proportional_bytes - sum.proportional_bytes;
        assert!(
            cut < map.regions.len() as u64 * 1024,
            "{cut} bytes are more than rounding takes"
        );
    }

    #[test]
    fn a_captured_process_adds_up_and_knows_its_stacks() {
        // A C program with three guarded stacks, one without a guard, one left by an ended thread.
        let map = read(&capture("memory-threads"), Pid(18903)).unwrap();
        check_sums(&map);
        check_rounding(&map);
        assert_eq!(map.resident_known, Ok(()));
        let of = |kind| map.sum(&[kind]).virtual_bytes;
        assert_eq!(of(RegionKind::SharedMemory), (1 << 20) + (64 << 10));
        assert_eq!(of(RegionKind::MappedFile), 8192);
        assert!(of(RegionKind::Heap) > 5 << 20);
        // A static array of 300 000 bytes.
        assert!(
            (300_000..500_000).contains(&of(RegionKind::Globals)),
            "{}",
            of(RegionKind::Globals)
        );
        let reserved: Vec<_> = map
            .stacks
            .iter()
            .map(|of| (of.tid.0 - 18903, of.stack.map(|stack| stack.reserved_bytes)))
            .collect();
        assert_eq!(reserved[0], (0, Ok(0x21000)));
        assert_eq!(reserved[1].1, Ok(256 << 10));
        assert_eq!(reserved[2].1, Ok(8 << 20));
        assert_eq!(reserved[3].1, Ok(128 << 10));
        let deep = map.stacks[1].stack.unwrap();
        assert!(deep.used_bytes.unwrap() > 100_000 && deep.resident_bytes.unwrap() >= deep.used_bytes.unwrap());
        assert_eq!(map.stacks[3].stack.unwrap().guard_bytes, Some(64 << 10));
        assert_eq!(&*map.stacks[1].name, "blocked) (1");
    }

    #[test]
    fn a_process_lives_on_when_its_main_thread_has_ended() {
        let map = read(&capture("memory-leader-gone"), Pid(18904)).unwrap();
        check_sums(&map);
        assert_eq!(map.stacks.len(), 4);
        let main = map.regions.iter().find(|region| &*region.name == "[stack]").unwrap();
        assert_eq!((main.kind, main.owner), (RegionKind::Stack, None));
    }

    fn without_stack(tid: u32, name: &str, why: Unknown) -> ThreadStack {
        ThreadStack {
            tid: Tid(tid),
            name: name.into(),
            stack: Err(why),
            found_by: None,
        }
    }

    #[test]
    fn a_kernel_thread_has_no_memory_and_says_so() {
        let map = read(&capture("memory-kernel-thread"), Pid(2)).unwrap();
        assert_eq!(map.resident_known, Err(Unknown::KernelThread));
        assert_eq!(map.stacks, [without_stack(2, "kthreadd", Unknown::KernelThread)]);
        assert!(map.regions.is_empty());
    }

    /// Copies a capture without some of its files.
    fn capture_without(name: &str, pid: u32, missing: &[&str]) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        let from = capture(name).process(Pid(pid));
        let to = copy.path().join(pid.to_string());
        std::fs::create_dir_all(to.join("task")).unwrap();
        for entry in std::fs::read_dir(&from).unwrap().flatten() {
            if entry.path().is_file() && !missing.contains(&entry.file_name().to_str().unwrap()) {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        copy
    }

    #[test]
    fn without_smaps_the_map_is_known_and_the_rest_is_not() {
        let copy = capture_without("memory-threads", 18903, &["smaps"]);
        let map = read(&ProcRoot::captured(copy.path()), Pid(18903)).unwrap();
        assert_eq!(map.resident_known, Err(Unknown::NotCaptured));
        assert_eq!(
            map.regions.iter().map(|r| r.sizes.virtual_bytes).sum::<u64>(),
            map.totals.statm_virtual_bytes
        );
        assert!(map.totals.rollup.is_ok());
    }

    #[test]
    fn each_missing_file_is_missed_by_itself() {
        let without = |missing: &[&str]| {
            let copy = capture_without("memory-threads", 18903, missing);
            read(&ProcRoot::captured(copy.path()), Pid(18903))
        };
        let map = without(&["smaps_rollup", "statm", "limits"]).unwrap();
        assert_eq!(map.totals.rollup, Err(Unknown::NotCaptured));
        // `status` holds the same totals as `statm`.
        let whole = read(&capture("memory-threads"), Pid(18903)).unwrap();
        assert_eq!(map.totals.statm_virtual_bytes, whole.totals.statm_virtual_bytes);
        for (missing, named) in [
            (&["stat"][..], "18903/stat"),
            (&["statm", "status"], "18903/statm"),
            // No mapping at all would add up to a zero that is none.
            (&["maps", "smaps"], "18903/maps"),
        ] {
            let error = without(missing).unwrap_err();
            assert!(
                matches!(&error, InspectError::Unreadable { path, .. } if path.ends_with(named)),
                "{error}"
            );
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = read(&ProcRoot::live(), Pid(0x7fff_fff0)).unwrap_err();
        assert!(matches!(error, InspectError::NoProcess(Pid(0x7fff_fff0))), "{error}");
    }

    #[test]
    fn a_quiet_process_adds_up_to_the_byte() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid(child.id());
        // Wait until the program has replaced us and lies down.
        let root = ProcRoot::live();
        let deadline = Instant::now() + Duration::from_secs(10);
        while glance::stack_pointer(&root, pid, Tid(pid.0)).is_err()
            || glance::name(&root, &root.process(pid)).unwrap() != "sleep".into()
        {
            assert!(Instant::now() < deadline, "sleep never slept");
            thread::yield_now();
        }
        let map = read(&root, pid);
        child.kill().unwrap();
        child.wait().unwrap();
        let map = map.unwrap();
        check_sums(&map);
        assert_eq!(&*map.stacks[0].name, "sleep");
        let stack = map.stacks[0].stack.unwrap();
        assert!(stack.used_bytes.unwrap() <= stack.resident_bytes.unwrap());
        assert!(map.sum(&[RegionKind::Code]).resident_bytes > 0);
    }

    /// Burns a known depth of stack, then calls `at_the_bottom` with an address there.
    #[inline(never)]
    fn descend(frames: usize, at_the_bottom: &mut dyn FnMut(u64)) {
        let frame = [0u8; 1024];
        std::hint::black_box(&frame);
        if frames == 0 {
            at_the_bottom((&raw const frame) as u64);
        } else {
            descend(frames - 1, at_the_bottom);
        }
        std::hint::black_box(&frame);
    }

    /// Sizes asked for, and how many frames of at least a KiB each thread goes down.
    const ROOMS: [(usize, usize); 5] = [
        (64 << 10, 4),
        (256 << 10, 100),
        (1 << 20, 2),
        (2 << 20, 900),
        (8 << 20, 3),
    ];

    static MARKED: [u8; 100_000] = [1; 100_000];

    /// Run as a process of its own by the test below: it says what is true of it, then keeps still.
    #[test]
    fn a_house_of_known_rooms() {
        if std::env::var_os("THREADSCAPE_TEST_HOUSE").is_none() {
            return;
        }
        let (tell, told) = mpsc::channel();
        let mut parked = Vec::new();
        for (size, frames) in ROOMS {
            let (wake, sleep) = mpsc::channel::<()>();
            let tell = tell.clone();
            parked.push(wake);
            thread::Builder::new()
                .name(format!("room {size}"))
                .stack_size(size)
                .spawn(move || {
                    descend(frames, &mut |address| {
                        tell.send(format!(
                            "stack {} {size} {address}",
                            rustix::thread::gettid().as_raw_pid()
                        ))
                        .unwrap();
                        let _ = sleep.recv();
                    });
                })
                .unwrap();
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 64 << 10]).unwrap();
        let memory = rustix::fs::memfd_create("a room", rustix::fs::MemfdFlags::empty()).unwrap();
        rustix::fs::ftruncate(&memory, 64 << 10).unwrap();
        let map = |fd: &dyn AsRawFd, flags| {
            // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing of ours.
            let at = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    64 << 10,
                    libc::PROT_READ,
                    flags,
                    fd.as_raw_fd(),
                    0,
                )
            };
            assert_ne!(at, libc::MAP_FAILED);
            at as u64
        };
        let heap = vec![1u8; 3 << 20];
        let mut facts = vec![
            format!("mapped_file 0 0 {}", map(&file, libc::MAP_SHARED)),
            format!("mapped_file 0 0 {}", map(&file, libc::MAP_PRIVATE)),
            format!("shared_memory 0 0 {}", map(&memory, libc::MAP_SHARED)),
            format!("heap 0 0 {}", heap.as_ptr() as u64),
            format!("code 0 0 {}", descend as fn(usize, &mut dyn FnMut(u64)) as usize),
            format!("code 0 0 {}", MARKED.as_ptr() as u64),
            format!("globals 0 0 {}", (&raw const COUNTED) as u64),
            format!("globals 0 0 {}", (&raw const ZEROS) as u64 + 1_500_000),
        ];
        facts.extend((0..ROOMS.len()).map(|_| told.recv_timeout(Duration::from_secs(20)).unwrap()));
        eprintln!("\n{}\nready", facts.join("\n"));
        let _ = std::io::stdin().read_line(&mut String::new());
        drop((parked, heap));
    }

    static ZEROS: std::sync::Mutex<[u8; 3_000_000]> = std::sync::Mutex::new([0; 3_000_000]);
    static COUNTED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

    struct House {
        child: Child,
        facts: Vec<(String, u32, u64, u64)>,
    }

    impl House {
        fn build(test: &str) -> House {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &format!("observe::memory::tests::{test}"), "--nocapture"])
                .env("THREADSCAPE_TEST_HOUSE", "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut facts = Vec::new();
            for line in BufReader::new(child.stderr.take().unwrap()).lines() {
                let line = line.unwrap();
                let words: Vec<_> = line.split(' ').collect();
                match words[..] {
                    ["ready"] => return House { child, facts },
                    [kind, tid, size, address] if address.parse::<u64>().is_ok() => facts.push((
                        kind.to_owned(),
                        tid.parse().unwrap(),
                        size.parse().unwrap(),
                        address.parse().unwrap(),
                    )),
                    _ => {}
                }
            }
            panic!("the house was never ready");
        }
    }

    impl Drop for House {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[test]
    fn every_room_of_a_known_house_is_found() {
        let house = House::build("a_house_of_known_rooms");
        let pid = Pid(house.child.id());
        let root = ProcRoot::live();
        // The main thread and the test's own are blocked as well, once they have got that far.
        let deadline = Instant::now() + Duration::from_secs(10);
        while glance::tids(&root, pid)
            .unwrap()
            .iter()
            .any(|tid| glance::stack_pointer(&root, pid, *tid).is_err())
        {
            assert!(Instant::now() < deadline, "some thread never came to rest");
            thread::yield_now();
        }
        // With the library's word and without: the truth is the same.
        for (ask_memory, found_by) in [
            (BLOCKS, if BLOCKS { "exact" } else { "stack_pointer" }),
            (false, "stack_pointer"),
        ] {
            check_rooms(&house, &look(&root, pid, |_| None, ask_memory).unwrap(), found_by);
        }
    }

    /// Where control blocks can be read.
    const BLOCKS: bool = cfg!(all(target_arch = "x86_64", target_env = "gnu"));

    fn check_rooms(house: &House, map: &MemoryMap, found_by: &str) {
        check_sums(map);
        assert_eq!(map.resident_known, Ok(()));
        for (kind, tid, size, address) in &house.facts {
            let region = map
                .regions
                .iter()
                .find(|region| (region.start..region.end).contains(address))
                .unwrap();
            assert_eq!(region.kind.name(), kind, "{region:?}");
            if kind != "stack" {
                continue;
            }
            assert_eq!((region.owner, region.found_by), (Some(Tid(*tid)), Some(found_by)));
            let told = map.stacks.iter().find(|of| of.tid.0 == *tid).unwrap();
            assert!(told.name.starts_with("room "), "{}", told.name);
            assert_eq!(told.found_by, Some(found_by));
            let stack = told.stack.unwrap();
            assert_eq!(stack.reserved_bytes, *size);
            assert_eq!(stack.guard_bytes, Some(rustix::param::page_size() as u64));
            assert_eq!((stack.start, stack.end), (region.start, region.end));
            // Parked a few calls below the marked frame.
            let (used, marked) = (stack.used_bytes.unwrap(), stack.end - address);
            assert!(
                (marked..marked + (24 << 10)).contains(&used),
                "{used} used, {marked} at the mark"
            );
            let resident = stack.resident_bytes.unwrap();
            assert!(
                used <= resident && resident <= stack.reserved_bytes,
                "{resident} resident, {used} used"
            );
            let guard = map.regions.iter().find(|region| region.end == stack.start).unwrap();
            assert_eq!((guard.kind, guard.owner), (RegionKind::Guard, Some(Tid(*tid))));
        }
        assert_eq!(house.facts.iter().filter(|fact| fact.0 == "stack").count(), ROOMS.len());
        // Reserved and resident are far apart where little was used.
        let largest = map
            .stacks
            .iter()
            .filter_map(|of| of.stack.ok())
            .max_by_key(|s| s.reserved_bytes)
            .unwrap();
        assert!(largest.resident_bytes.unwrap() < largest.reserved_bytes / 10);
    }

    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    mod blocks {
        use super::*;
        use std::sync::OnceLock;

        static TELL: OnceLock<mpsc::SyncSender<String>> = OnceLock::new();

        fn tell(kind: &str, size: usize) {
            let here = 0u8;
            let tid = rustix::thread::gettid().as_raw_pid();
            TELL.get()
                .unwrap()
                .send(format!("{kind} {tid} {size} {}", (&raw const here) as u64))
                .unwrap();
        }

        extern "C" fn stands(size: *mut libc::c_void) -> *mut libc::c_void {
            tell("stands", size as usize);
            loop {
                thread::park();
            }
        }

        /// A thread without a guard, as only pthread_attr makes it.
        fn start_unguarded(size: usize) {
            let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
            let mut thread = std::mem::MaybeUninit::<libc::pthread_t>::uninit();
            let attributes = attributes.as_mut_ptr();
            // SAFETY: room for one attribute object, which this call fills.
            assert_eq!(unsafe { libc::pthread_attr_init(attributes) }, 0);
            // SAFETY: the object was made by the call above.
            assert_eq!(unsafe { libc::pthread_attr_setguardsize(attributes, 0) }, 0);
            // SAFETY: the same object.
            assert_eq!(unsafe { libc::pthread_attr_setstacksize(attributes, size) }, 0);
            let argument = size as *mut libc::c_void;
            let thread = thread.as_mut_ptr();
            // SAFETY: `stands` lives for ever and takes its argument as a number.
            let failed = unsafe { libc::pthread_create(thread, attributes, stands, argument) };
            assert_eq!(failed, 0);
        }

        /// Run as a process of its own by the test below.
        #[test]
        fn a_house_without_walls() {
            if std::env::var_os("THREADSCAPE_TEST_HOUSE").is_none() {
                return;
            }
            let (sender, told) = mpsc::sync_channel(8);
            TELL.set(sender).unwrap();
            // Its stack is kept by glibc, too small for those that follow.
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(|| ())
                .unwrap()
                .join()
                .unwrap();
            for size in [96 << 10, 128 << 10, 160 << 10] {
                start_unguarded(size);
            }
            for _ in 0..2 {
                let spin = || {
                    tell("spins", 1 << 20);
                    loop {
                        std::hint::spin_loop();
                    }
                };
                thread::Builder::new().stack_size(1 << 20).spawn(spin).unwrap();
            }
            let facts: Vec<_> = (0..5)
                .map(|_| told.recv_timeout(Duration::from_secs(20)).unwrap())
                .collect();
            eprintln!("\n{}\nready", facts.join("\n"));
            let _ = std::io::stdin().read_line(&mut String::new());
        }

        #[test]
        fn merged_stacks_and_running_threads_are_told_by_their_blocks() {
            let house = House::build("blocks::a_house_without_walls");
            let pid = Pid(house.child.id());
            let map = read(&ProcRoot::live(), pid).unwrap();
            check_sums(&map);
            for (kind, tid, size, address) in &house.facts {
                let told = map.stacks.iter().find(|of| of.tid.0 == *tid).unwrap();
                assert_eq!(told.found_by, Some("exact"));
                let stack = told
                    .stack
                    .unwrap_or_else(|unknown| panic!("{kind} {size}: {unknown:?}"));
                assert!((stack.start..stack.end).contains(address), "{kind} {size}: {stack:?}");
                assert_eq!(stack.reserved_bytes, *size, "{kind}");
                let resident = stack.resident_bytes.unwrap();
                assert!(resident >= 4096 && resident < *size, "{kind} {size}: {resident}");
                if kind == "stands" {
                    assert_eq!(stack.guard_bytes, None);
                } else {
                    assert_eq!(stack.guard_bytes, Some(4096));
                }
            }
            assert_eq!(house.facts.len(), 5);
            // The ended thread's stack: a stack, and nobody's.
            let kept = map.regions.iter().find(|region| {
                region.kind == RegionKind::Stack && region.owner.is_none() && region.end - region.start == 64 << 10
            });
            assert_eq!(kept.unwrap().found_by, Some("exact"));
        }
    }

    #[test]
    fn a_zombie_has_given_its_memory_back() {
        let root = ProcRoot::live();
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid(child.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        while glance::memory_folder(&root, pid) != Err(Unknown::Zombie) {
            assert!(Instant::now() < deadline, "true never ended");
            thread::yield_now();
        }
        let map = read(&root, pid).unwrap();
        child.wait().unwrap();
        assert_eq!(map.resident_known, Err(Unknown::Zombie));
        assert_eq!(map.stacks, [without_stack(pid.0, "true", Unknown::Zombie)]);
    }

    #[test]
    fn a_process_that_moves_is_shown_as_it_is_within_a_bound() {
        // A thread of ours maps and unmaps, so that no two readings agree.
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let restless = thread::spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::black_box(vec![1u8; 1 << 20]);
                }
            }
        });
        for _ in 0..5 {
            let map = read(&ProcRoot::live(), Pid(std::process::id())).unwrap();
            assert_eq!(map.resident_known, Ok(()));
            assert!(map.totals.rollup.unwrap().resident_bytes > 0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        restless.join().unwrap();
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_map_nobody_gets_two_stacks(
            pieces in proptest::collection::vec((0u64..3, 1u64..40, 0usize..6), 0..40),
            standing in proptest::collection::vec(proptest::option::of((0usize..40, 0u64..0x20000)), 1..12),
        ) {
            const LOOKS: [&str; 6] = [
                "---p 00000000 00:00 0",
                "rw-p 00000000 00:00 0",
                "r-xp 00000000 fe:00 7 /lib/x.so",
                "rw-p 00000000 fe:00 7 /lib/x.so",
                "rw-p 00000000 00:00 0 [heap]",
                "rw-s 00000000 00:01 7 /dev/zero (deleted)",
            ];
            let (mut lines, mut starts, mut at) = (String::new(), Vec::new(), 0x10000u64);
            for (hole, pages, look) in pieces {
                at += hole * 4096;
                starts.push(at);
                let _ = writeln!(lines, "{at:x}-{:x} {}", at + pages * 4096, LOOKS[look]);
                at += pages * 4096;
            }
            let threads: Vec<Stander> = standing
                .iter()
                .enumerate()
                .map(|(n, place)| {
                    let address = place.and_then(|(piece, offset)| Some(starts.get(piece)? + offset));
                    stander(n as u32 + 1, address.ok_or(Unknown::Running))
                })
                .collect();
            let reading = reading_of(&lines);
            let before = reading.sum();
            let (regions, stacks) = reading.classify(Pid(1), &threads, &Told::default(), |_| None, Some(8 << 20));
            let sum = regions.iter().fold(Sizes::default(), |sum, region| sum.plus(region.sizes));
            proptest::prop_assert_eq!(sum, before);
            for (thread, stack) in threads.iter().zip(&stacks) {
                let own = |kind| regions.iter().filter(move |region| region.kind == kind && region.owner == Some(thread.tid));
                proptest::prop_assert_eq!(own(RegionKind::Stack).count(), usize::from(stack.is_ok()));
                proptest::prop_assert!(own(RegionKind::Guard).count() <= own(RegionKind::Stack).count());
                if let (Ok((stack, _)), Ok(address)) = (stack, thread.stack_pointer) {
                    proptest::prop_assert!((stack.start..stack.end).contains(&address));
                }
            }
        }
    }

    #[test]
    fn a_process_that_ends_under_our_eyes_is_an_ending() {
        let root = ProcRoot::live();
        for _ in 0..20 {
            let mut child = Command::new("true").spawn().unwrap();
            // Wherever it is caught: whole, a zombie, or gone. Never a panic, never another error.
            match read(&root, Pid(child.id())) {
                Ok(_) | Err(InspectError::Ended(_) | InspectError::NoProcess(_)) => {}
                Err(error) => panic!("{error}"),
            }
            child.wait().unwrap();
            assert!(matches!(read(&root, Pid(child.id())), Err(InspectError::NoProcess(_))));
        }
    }

    #[test]
    fn another_users_process_is_refused_with_the_reason() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid(child.id());
        // Credentials are a thread's own in the kernel: only this one becomes nobody.
        let map = thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            read(&ProcRoot::live(), pid)
        })
        .join()
        .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(map, Err(InspectError::Denied(of)) if of == pid), "{map:?}");
    }

    #[test]
    fn nothing_else_is_open_while_it_reads() {
        // A file kept open would pin a dead process' memory map.
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for _ in 0..3 {
            read(&ProcRoot::live(), Pid(std::process::id())).unwrap();
        }
        let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(after <= before + 8, "{before} descriptors became {after}");
        drop(File::open("/proc/self/statm").unwrap());
    }
}
