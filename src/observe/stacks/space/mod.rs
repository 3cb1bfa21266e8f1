//! Which file is mapped where in a process, and what was read of those files.
//!
//! `maps` names the mappings; those of one file are one group, and only groups with code in them are
//! looked into: a process may have sixty thousand mappings and yet a dozen programs. `open` finds the
//! file itself, `elf` reads what unwinding needs of it, `cache` keeps that for all processes, and
//! `patience` gives up on files that do not answer. A file that cannot be had, or that was replaced since,
//! is read from the process' memory instead.
//!
//! Files are read, never mapped: one that is cut while we look would kill us by SIGBUS.

mod cache;
mod compressed;
mod elf;
mod open;
mod patience;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) use cache::Bounded;
pub(super) use compressed::decompressed;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use elf::module;
pub(super) use elf::{Layout, Source, dynamic, place};
pub(super) use open::{FileKey, Follow, Found, Opened, at};
pub(super) use patience::within;

use crate::kernel::ProcRoot;
use crate::kernel::elf_file::Segment;
use crate::kernel::maps::{self, Mapping};
use crate::model::{Evidence, Pid, Unknown};
use crate::observe::glance;

/// Unwind information kept for all processes.
const KEPT_BYTES: usize = 24 << 20;
/// A hundred libraries are many. What a process has beyond this stays unread.
const MOST_FILES: usize = 4096;
/// `max_map_count` is 65 530 unless somebody raised it; a million mappings are 64 MiB of ours.
const MOST_MAPPINGS: usize = 1 << 20;
/// All files of one process, cold; nearly all of it is for files that do not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The vdso has two pages, with some room to grow.
const MOST_VDSO: u64 = 256 << 10;
const FIRST_PAGE: u64 = 4096;

/// What is kept of modules for all threads and processes, bounded in bytes; least recently used go first.
#[derive(Debug)]
pub(in crate::observe) struct ModuleCache {
    kept: Arc<Kept>,
}

#[derive(Debug)]
struct Kept {
    modules: Bounded<Key, Evidence<Arc<Module>>>,
    next_id: AtomicU64,
    hasher: RandomState,
}

/// What makes two modules the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    File(FileKey),
    /// By its bytes.
    Vdso(u64),
    /// Memory speaks only for its own process: another's could pretend to be a library that all have.
    Memory {
        pid: Pid,
        base: u64,
        first_page: u64,
    },
}

impl Default for ModuleCache {
    fn default() -> ModuleCache {
        ModuleCache {
            kept: Arc::new(Kept {
                modules: Bounded::new(KEPT_BYTES),
                next_id: AtomicU64::new(1),
                hasher: RandomState::new(),
            }),
        }
    }
}

/// From where a module was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) enum Origin {
    File(FileKey),
    Vdso,
    /// The file could not be opened, or another has taken its path.
    Memory {
        base: u64,
        replaced: bool,
    },
}

/// One file of code as it was read: the same for every process that maps it.
#[derive(Debug)]
pub(in crate::observe) struct Module {
    /// Never given twice.
    pub id: u64,
    /// As the process' `maps` name it that brought it first, or `[vdso]`.
    pub name: Arc<str>,
    pub origin: Origin,
    pub build_id: Option<Vec<u8>>,
    /// What the file calls itself: `libc.so.6`.
    pub own_name: Option<Box<str>>,
    /// `.eh_frame` and `.eh_frame_hdr` with the addresses that the file gives them.
    pub eh_frame: Option<Section>,
    pub eh_frame_hdr: Option<Section>,
    /// `.debug_frame`, for code without the above.
    pub debug_frame: Option<Section>,
    pub text: Option<(u64, u64)>,
    pub got: Option<(u64, u64)>,
    /// From its lowest to its highest address in memory, as the file counts.
    pub extent: (u64, u64),
    /// What the program loader maps of it.
    pub segments: Vec<Segment>,
}

impl Module {
    fn bytes(&self) -> usize {
        let sections = [&self.eh_frame, &self.eh_frame_hdr, &self.debug_frame];
        let sections = sections.iter().filter_map(|section| section.as_ref());
        sections.map(|section| section.bytes.len()).sum::<usize>()
            + size_of::<Module>()
            + self.segments.len() * size_of::<Segment>()
            + self.name.len()
    }

    /// How far a process has moved the file's addresses, by one of its mappings.
    fn bias(&self, mapped: &Mapped, offset: u64, before: Option<u64>) -> u64 {
        let page = FIRST_PAGE - 1;
        let holders = self.segments.iter().filter(|segment| {
            let first = segment.offset & !page;
            first <= offset && offset < segment.offset.saturating_add(segment.file_bytes.max(1))
        });
        // One page of the file may be in two segments; the same file may be there twice.
        let bias = |segment: &Segment| {
            mapped
                .start
                .wrapping_sub(segment.address.wrapping_add(offset.wrapping_sub(segment.offset)))
        };
        let likely = holders.clone().find(|segment| Some(bias(segment)) == before);
        let likely = likely.or_else(|| {
            holders
                .clone()
                .find(|segment| segment.is_executable() == mapped.executable)
        });
        likely
            .or_else(|| holders.clone().next())
            .map_or(mapped.start.wrapping_sub(offset), bias)
    }
}

/// A section's bytes, and where it begins by the file's own count.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Section {
    pub start: u64,
    pub bytes: Arc<[u8]>,
}

/// One mapping.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Mapped {
    pub start: u64,
    pub end: u64,
    pub executable: bool,
    pub writable: bool,
    pub shared: bool,
    /// The path or the kernel's bracketed name; empty for anonymous memory. ` (replaced)` behind it: another file
    /// is at that path by now, and this one was read from memory.
    pub name: Arc<str>,
    /// Of mappings of ELF files. What the file says is `address - bias`.
    pub module: Evidence<Arc<Module>>,
    pub bias: u64,
}

impl Mapped {
    /// Code made at run time, as far as the kernel can tell.
    pub fn is_made_code(&self) -> bool {
        // A memory file may be mapped twice, for writing and for running; a program may lie in one as well.
        let no_file = self.name.is_empty() || self.name.starts_with("[anon") || self.name.starts_with("/memfd:");
        self.executable && no_file && self.module.is_err()
    }
}

/// All mappings of one process at one moment, in address order.
#[derive(Clone, Debug)]
pub(in crate::observe) struct AddressSpace {
    pub mappings: Vec<Mapped>,
    /// Through which thread its memory is read: the main thread may have ended.
    pub reader: Pid,
    /// That thread's folder of `/proc`. `None` for a captured tree: no process stands behind it.
    pub(super) folder: Option<PathBuf>,
    /// By the id of a module: how its bytes are had again.
    asked: HashMap<u64, Arc<Asked>>,
}

/// The mappings of one file.
#[derive(Debug)]
struct Group {
    identity: open::Identity,
    /// Of a mapping of code where there is one: the range by which `map_files` has the file.
    range: (u64, u64),
    has_code: bool,
    /// Where its first byte is mapped.
    base: Option<u64>,
    name: Arc<str>,
}

impl AddressSpace {
    /// Mappings that stand for a process' where bytes are thrown at a walk.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn made(mappings: Vec<Mapped>) -> AddressSpace {
        AddressSpace {
            mappings,
            reader: Pid(0),
            folder: None,
            asked: HashMap::new(),
        }
    }

    pub fn read(root: &ProcRoot, pid: Pid, modules: &ModuleCache) -> Evidence<AddressSpace> {
        let folder = glance::memory_folder(root, pid)?;
        let reader = glance::reader_of(&folder).unwrap_or(pid);
        let mut reading = Reading::default();
        maps::read(root, &folder, |mapping| reading.add(mapping))?;
        // A process that ends between open and read gives an empty map.
        if reading.mappings.is_empty() {
            return Err(Unknown::Gone);
        }
        // A thread's own folder has no `map_files`; the one by its number has.
        let folder = (!root.is_captured()).then(|| root.process(reader));
        let (found, asked) = match &folder {
            Some(folder) => reading.modules(folder, reader, modules),
            None => (vec![Err(Unknown::NotCaptured); reading.groups.len()], HashMap::new()),
        };
        Ok(AddressSpace {
            mappings: reading.finish(&found),
            reader,
            folder,
            asked,
        })
    }

    /// How to read more of a module that this process maps.
    pub(super) fn again(&self, module: &Arc<Module>) -> Option<Again> {
        Some(Again {
            folder: self.folder.clone()?,
            pid: self.reader,
            asked: Arc::clone(self.asked.get(&module.id)?),
            module: Arc::clone(module),
        })
    }

    /// The mapping that holds an address.
    pub fn find(&self, address: u64) -> Option<&Mapped> {
        self.place_of(address).map(|at| &self.mappings[at])
    }

    /// The module that an address belongs to, and its bias; the zeros behind a file's data (`.bss`) are memory
    /// that no file stands behind, yet they are the module's.
    pub fn module_of(&self, address: u64) -> Option<(&Mapped, &Arc<Module>)> {
        let at = self.place_of(address)?;
        let mapped = &self.mappings[at];
        if let Ok(module) = &mapped.module {
            return Some((mapped, module));
        }
        if !mapped.name.is_empty() && mapped.name.as_ref() != "[heap]" && !mapped.name.starts_with("[anon:.bss") {
            return None;
        }
        let before = self.mappings[..at].iter().rev().take_while({
            let mut next = mapped.start;
            move |before| std::mem::replace(&mut next, before.start) == before.end
        });
        // Protections cut the tail into a few pieces at most.
        before.take(4).find_map(|before| {
            let module = before.module.as_ref().ok()?;
            let (first, end) = module.extent;
            (first..end)
                .contains(&address.wrapping_sub(before.bias))
                .then_some((before, module))
        })
    }

    fn place_of(&self, address: u64) -> Option<usize> {
        let at = self.mappings.partition_point(|mapped| mapped.end <= address);
        self.mappings.get(at).filter(|mapped| mapped.start <= address)?;
        Some(at)
    }
}

/// Of each group its module; and by a module's id, how it was asked for.
type Modules = (Vec<Evidence<Arc<Module>>>, HashMap<u64, Arc<Asked>>);

/// Device, inode, and the name: one file may be mapped by several.
type FileAndName = ((u32, u32), u64, Arc<str>);

const NO_GROUP: u32 = u32::MAX;

/// `maps`, as it is read.
#[derive(Debug, Default)]
struct Reading {
    mappings: Vec<Mapped>,
    /// Of each mapping: which group, and where in the file it begins.
    of: Vec<(u32, u64)>,
    groups: Vec<Group>,
    by_file: HashMap<FileAndName, u32>,
    names: HashMap<Box<[u8]>, Arc<str>>,
}

impl Reading {
    fn add(&mut self, mapping: &Mapping<'_>) {
        if self.mappings.len() >= MOST_MAPPINGS {
            return;
        }
        let name = match self.names.get(mapping.name) {
            Some(name) => Arc::clone(name),
            None => {
                let name: Arc<str> = String::from_utf8_lossy(mapping.name).into();
                self.names.insert(mapping.name.into(), Arc::clone(&name));
                name
            }
        };
        let is_file = mapping.inode != 0 || &*name == "[vdso]";
        let group = if is_file { self.group(mapping, &name) } else { NO_GROUP };
        self.of.push((group, mapping.offset));
        self.mappings.push(Mapped {
            start: mapping.start,
            end: mapping.end,
            executable: mapping.is_executable(),
            writable: mapping.is_writable(),
            shared: mapping.is_shared(),
            name,
            module: Err(Unknown::NoSymbols),
            bias: 0,
        });
    }

    fn group(&mut self, mapping: &Mapping<'_>, name: &Arc<str>) -> u32 {
        let range = (mapping.start, mapping.end);
        let entry = self.by_file.entry((mapping.device, mapping.inode, Arc::clone(name)));
        let at = match entry {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let at = self.groups.len() as u32;
                self.groups.push(Group {
                    identity: open::Identity::of(mapping),
                    range,
                    has_code: false,
                    base: None,
                    name: Arc::clone(name),
                });
                *new.insert(at)
            }
        };
        let group = &mut self.groups[at as usize];
        if mapping.is_executable() && !group.has_code {
            (group.has_code, group.range) = (true, range);
        }
        if mapping.offset == 0 && group.base.is_none() {
            group.base = Some(mapping.start);
        }
        at
    }

    /// The module of each group.
    fn modules(&self, folder: &Path, pid: Pid, modules: &ModuleCache) -> Modules {
        let with_code = (0..self.groups.len()).filter(|at| self.groups[*at].has_code);
        let wanted: Vec<(usize, Arc<Asked>)> = with_code
            .map(|at| {
                let group = &self.groups[at];
                let asked = Asked {
                    identity: group.identity.clone(),
                    range: group.range,
                    base: group.base,
                    name: Arc::clone(&group.name),
                };
                (at, Arc::new(asked))
            })
            .collect();
        let (kept, folder) = (Arc::clone(&modules.kept), folder.to_owned());
        let first = wanted
            .iter()
            .take(MOST_FILES)
            .map(|(_, asked)| Arc::clone(asked))
            .collect();
        let read = within(PATIENCE, first, move |asked| kept.module(&folder, pid, &asked));
        let mut found = vec![Err(Unknown::NoSymbols); self.groups.len()];
        let mut by_id = HashMap::new();
        for (n, (at, asked)) in wanted.into_iter().enumerate() {
            let module = read.get(n).cloned().unwrap_or(Err(Unknown::Late)).flatten();
            if let Ok(module) = &module {
                by_id.insert(module.id, asked);
            }
            found[at] = module;
        }
        (found, by_id)
    }

    fn finish(mut self, found: &[Evidence<Arc<Module>>]) -> Vec<Mapped> {
        let mut before = vec![None; found.len()];
        let names: Vec<Option<Arc<str>>> = self
            .groups
            .iter()
            .zip(found)
            .map(|(group, module)| replaced(group, module))
            .collect();
        for (mapped, (group, offset)) in self.mappings.iter_mut().zip(&self.of) {
            let Some(module) = found.get(*group as usize) else {
                continue;
            };
            let at = *group as usize;
            mapped.module.clone_from(module);
            if let Some(name) = &names[at] {
                mapped.name = Arc::clone(name);
            }
            if let Ok(module) = module {
                mapped.bias = module.bias(mapped, *offset, before[at]);
                before[at] = Some(mapped.bias);
            }
        }
        self.mappings.shrink_to_fit();
        self.mappings
    }
}

/// The name of a file that is no longer at its path. Of a deleted one the kernel says so itself.
fn replaced(group: &Group, module: &Evidence<Arc<Module>>) -> Option<Arc<str>> {
    let module = module.as_ref().ok()?;
    let from_memory = matches!(module.origin, Origin::Memory { replaced: true, .. });
    (from_memory && !group.identity.is_deleted).then(|| format!("{} (replaced)", group.name).into())
}

/// A module that is wanted.
#[derive(Debug)]
struct Asked {
    identity: open::Identity,
    range: (u64, u64),
    base: Option<u64>,
    name: Arc<str>,
}

/// A module whose bytes are wanted once more: its symbols are read only when somebody asks for names.
#[derive(Clone, Debug)]
pub(super) struct Again {
    pub folder: PathBuf,
    pid: Pid,
    asked: Arc<Asked>,
    pub module: Arc<Module>,
}

/// The bytes behind a [`Source`].
#[derive(Debug)]
pub(super) enum Bytes {
    File(Opened),
    Vdso(Vec<u8>),
    Memory(Source<'static>),
}

impl Again {
    /// `None`: the process is gone, or the file is not what it was.
    pub fn bytes(&self) -> Option<Bytes> {
        let (start, end) = self.asked.range;
        match self.module.origin {
            Origin::File(key) => match open::mapped(&self.folder, start, end, &self.asked.identity) {
                open::Way::Surely(found) | open::Way::Perhaps(found) if found.key() == key => {
                    Some(Bytes::File(found.open().ok()?))
                }
                _ => None,
            },
            Origin::Vdso => Some(Bytes::Vdso(vdso_bytes(self.pid, self.asked.range).ok()?)),
            Origin::Memory { base, .. } => Some(Bytes::Memory(elf::in_memory(self.pid, base).ok()?)),
        }
    }

    /// Where the file lies, as the process sees it.
    pub fn path(&self) -> &[u8] {
        &self.asked.identity.path
    }
}

impl Bytes {
    pub fn source(&self) -> Source<'_> {
        match self {
            Bytes::File(file) => Source::File(file),
            Bytes::Vdso(bytes) => Source::Bytes(bytes),
            Bytes::Memory(source) => *source,
        }
    }
}

impl Kept {
    fn module(&self, folder: &Path, pid: Pid, asked: &Asked) -> Evidence<Arc<Module>> {
        if &*asked.name == "[vdso]" {
            return self.vdso(pid, asked);
        }
        let replaced = match open::mapped(folder, asked.range.0, asked.range.1, &asked.identity) {
            open::Way::Surely(found) => return self.file(&found, asked),
            open::Way::Perhaps(found) if is_in_memory(&found, pid, asked) => return self.file(&found, asked),
            open::Way::Perhaps(_) | open::Way::Replaced => true,
            open::Way::Unopened => false,
        };
        self.memory(pid, asked, replaced)
    }

    fn file(&self, found: &open::Found, asked: &Asked) -> Evidence<Arc<Module>> {
        let key = found.key();
        self.kept(Key::File(key), |id| {
            let file = found.open().map_err(|_| Unknown::Denied)?;
            elf::module(id, Arc::clone(&asked.name), Origin::File(key), &Source::File(&file))
        })
    }

    fn vdso(&self, pid: Pid, asked: &Asked) -> Evidence<Arc<Module>> {
        let bytes = vdso_bytes(pid, asked.range)?;
        self.kept(Key::Vdso(self.hasher.hash_one(&bytes)), |id| {
            elf::module(id, Arc::clone(&asked.name), Origin::Vdso, &Source::Bytes(&bytes))
        })
    }

    fn memory(&self, pid: Pid, asked: &Asked, replaced: bool) -> Evidence<Arc<Module>> {
        let base = asked.base.ok_or(Unknown::NoSymbols)?;
        let page = elf::memory(pid, base, FIRST_PAGE).ok_or(Unknown::PtraceDenied)?;
        let first_page = self.hasher.hash_one(&page);
        self.kept(Key::Memory { pid, base, first_page }, |id| {
            let source = elf::in_memory(pid, base)?;
            elf::module(id, Arc::clone(&asked.name), Origin::Memory { base, replaced }, &source)
        })
    }

    fn kept(&self, key: Key, read: impl FnOnce(u64) -> Evidence<Module>) -> Evidence<Arc<Module>> {
        if let Some(known) = self.modules.get(&key) {
            return known;
        }
        let module = read(self.next_id.fetch_add(1, Ordering::Relaxed)).map(Arc::new);
        let bytes = module.as_ref().map_or(0, |module| module.bytes());
        self.modules.put(key, module.clone(), bytes);
        module
    }
}

/// The vdso has no file: it is an ELF file in memory, whole.
fn vdso_bytes(pid: Pid, (start, end): (u64, u64)) -> Evidence<Vec<u8>> {
    elf::memory(pid, start, (end - start).min(MOST_VDSO)).ok_or(Unknown::PtraceDenied)
}

/// Whether the file begins as what is mapped does: headers, notes and build id are in its first page.
fn is_in_memory(found: &open::Found, pid: Pid, asked: &Asked) -> bool {
    let compare = || {
        let file = found.open().ok()?;
        let bytes = file.bytes().min(FIRST_PAGE);
        Some(file.read(0, bytes, FIRST_PAGE)? == elf::memory(pid, asked.base?, bytes)?)
    };
    compare() == Some(true)
}

#[cfg(test)]
pub(super) mod tests;
