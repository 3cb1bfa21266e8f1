//! One ELF file as unwinding needs it, read from the file, or from memory where the file is not to be had.
//!
//! The memory of a process holds a program's segments but not its table of sections. What is needed is
//! found there by the program headers: `.eh_frame_hdr` has a segment of its own and says where
//! `.eh_frame` begins; the dynamic section tells the file's own name and symbols; a note holds the build id.

use std::sync::Arc;

use super::compressed::decompressed;
use super::open::Opened;
use super::{Module, Origin, Section};
use crate::kernel::elf_file::{self, Header, NotRead, Place, Segment};
use crate::kernel::process_vm;
use crate::model::{Evidence, Pid, Unknown};

/// The largest `.eh_frame` at hand is 10 MiB (Chromium); the program says nothing about more.
const MOST_FRAMES: u64 = 64 << 20;
const MOST_HEADER: u64 = 16 << 20;
/// Notes, dynamic section, names of sections, debug link.
const MOST_SMALL: u64 = 1 << 20;
const MOST_TABLE: u64 = 64 << 16;

/// From where the bytes of an ELF file come.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe::stacks) enum Source<'a> {
    File(&'a Opened),
    /// A whole file in our memory: the vdso.
    Bytes(&'a [u8]),
    /// The segments in the memory of a process. The file's first byte is at `base`; to the file's
    /// addresses the process adds `bias`.
    Memory {
        pid: Pid,
        base: u64,
        bias: u64,
    },
}

/// The program whose file begins at `base` in a process' memory.
pub(in crate::observe::stacks) fn in_memory(pid: Pid, base: u64) -> Evidence<Source<'static>> {
    let layout = Layout::read(&Source::Memory { pid, base, bias: 0 })?;
    let first = layout
        .loaded()
        .min_by_key(|segment| segment.offset)
        .ok_or(Unknown::NoSymbols)?;
    let bias = base.wrapping_sub(first.address.wrapping_sub(first.offset));
    Ok(Source::Memory { pid, base, bias })
}

impl Source<'_> {
    pub fn at_offset(&self, place: Place, most: u64) -> Option<Vec<u8>> {
        match self {
            Source::File(file) => file.read(place.offset, place.bytes, most),
            Source::Bytes(bytes) => {
                let from = usize::try_from(place.offset).ok()?;
                let to = from.checked_add(usize::try_from(place.bytes).ok()?)?;
                Some(bytes.get(from..to)?.to_vec())
            }
            Source::Memory { .. } => None,
        }
    }

    /// What the program has at an address before it is moved by the bias.
    pub fn at_address(&self, segments: &[Segment], address: u64, bytes: u64, most: u64) -> Option<Vec<u8>> {
        match self {
            Source::Memory { pid, bias, .. } => {
                let end = address.checked_add(bytes)?;
                let is_loaded = |segment: &Segment| {
                    segment.kind == elf_file::LOAD && segment.address <= address && end <= segment.end()
                };
                if bytes > most || !segments.iter().any(is_loaded) {
                    return None;
                }
                memory(*pid, bias.wrapping_add(address), bytes)
            }
            _ => {
                let segment = segments.iter().find(|segment| {
                    segment.kind == elf_file::LOAD
                        && segment.address <= address
                        && address - segment.address < segment.file_bytes
                })?;
                let offset = segment.offset.checked_add(address - segment.address)?;
                self.at_offset(Place { offset, bytes }, most)
            }
        }
    }
}

/// Bytes of a process' memory, all of them or nothing.
pub(in crate::observe::stacks) fn memory(pid: Pid, address: u64, bytes: u64) -> Option<Vec<u8>> {
    let mut read = vec![0; usize::try_from(bytes).ok()?];
    let copied = process_vm::read(pid, address, &mut read).ok()?;
    (copied == read.len()).then_some(read)
}

/// The tables by which everything else in a file is found.
#[derive(Debug)]
pub(in crate::observe::stacks) struct Layout {
    pub segments: Vec<Segment>,
    /// Empty where the file was stripped of them, and in memory.
    pub sections: Vec<elf_file::Section>,
    names: Vec<u8>,
}

impl Layout {
    pub fn read(source: &Source<'_>) -> Evidence<Layout> {
        let head = Place {
            offset: 0,
            bytes: elf_file::HEADER_BYTES as u64,
        };
        let head = match source {
            Source::Memory { pid, base, .. } => memory(*pid, *base, head.bytes),
            _ => source.at_offset(head, head.bytes),
        };
        let header = elf_file::parse_header(&head.ok_or(Unknown::NoSymbols)?).map_err(|why| match why {
            NotRead::Foreign => Unknown::ForeignCode,
            NotRead::NotElf => Unknown::NoSymbols,
        })?;
        let segments = match source {
            // The headers are in the first page, or nearly: that is as good as promised by every linker.
            Source::Memory { pid, base, .. } => {
                memory(*pid, base.wrapping_add(header.segments.offset), header.segments.bytes)
            }
            _ => source.at_offset(header.segments, MOST_TABLE),
        };
        let mut layout = Layout {
            segments: elf_file::parse_segments(&segments.ok_or(Unknown::NoSymbols)?),
            sections: Vec::new(),
            names: Vec::new(),
        };
        // A cut file has its segments and no more: still better than nothing.
        if let Some((sections, names)) = sections(source, &header) {
            (layout.sections, layout.names) = (sections, names);
        }
        Ok(layout)
    }

    pub fn section(&self, name: &[u8]) -> Option<&elf_file::Section> {
        let is = |section: &&elf_file::Section| {
            elf_file::text(&self.names, section.name.into(), name.len() + 1).is_some_and(|found| found == name)
        };
        self.sections.iter().find(is)
    }

    pub fn segment(&self, kind: u32) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    pub fn loaded(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.kind == elf_file::LOAD)
    }

    /// A section's bytes as they are in the file.
    pub fn bytes_of(&self, source: &Source<'_>, name: &[u8], most: u64) -> Option<Vec<u8>> {
        let section = self.section(name).filter(|section| section.has_bytes())?;
        source.at_offset(place(section), most)
    }
}

pub(in crate::observe::stacks) fn place(section: &elf_file::Section) -> Place {
    Place {
        offset: section.offset,
        bytes: section.size,
    }
}

fn sections(source: &Source<'_>, header: &Header) -> Option<(Vec<elf_file::Section>, Vec<u8>)> {
    let mut table = header.sections;
    if table.bytes == 0 {
        return None;
    }
    let first = source.at_offset(
        Place {
            bytes: elf_file::SECTION_BYTES,
            ..table
        },
        MOST_TABLE,
    )?;
    let first = *elf_file::parse_sections(&first).first()?;
    if header.uncounted {
        table.bytes = elf_file::uncounted_sections(&first);
    }
    let sections = elf_file::parse_sections(&source.at_offset(table, MOST_TABLE)?);
    let names = match header.names {
        0xffff => first.link as usize,
        names => names.into(),
    };
    let names = sections
        .get(names)
        .and_then(|names| source.at_offset(place(names), MOST_SMALL))?;
    Some((sections, names))
}

/// Reads what unwinding needs.
pub(in crate::observe::stacks) fn module(
    id: u64,
    name: Arc<str>,
    origin: Origin,
    source: &Source<'_>,
) -> Evidence<Module> {
    let layout = Layout::read(source)?;
    let range = |name: &[u8]| {
        let section = layout.section(name)?;
        Some((section.address, section.address.checked_add(section.size)?))
    };
    let section = |name: &[u8], most: u64| {
        Some(Section {
            start: layout.section(name)?.address,
            bytes: layout.bytes_of(source, name, most)?.into(),
        })
    };
    let header = section(b".eh_frame_hdr", MOST_HEADER).or_else(|| frames_header(&layout, source));
    let frames = section(b".eh_frame", MOST_FRAMES).or_else(|| frames(&layout, source, header.as_ref()?));
    let debug_frame = match frames {
        Some(_) => None,
        // Go's programs have this one alone, and compressed.
        None => layout.section(b".debug_frame").and_then(|told| {
            let read = section(b".debug_frame", MOST_FRAMES)?;
            if !told.is_compressed() {
                return Some(read);
            }
            Some(Section {
                bytes: decompressed(&read.bytes, MOST_FRAMES as usize)?,
                ..read
            })
        }),
    };
    let loaded = || layout.loaded().filter(|segment| segment.memory_bytes > 0);
    let extent = loaded()
        .map(|segment| segment.address)
        .min()
        .zip(loaded().map(Segment::end).max());
    Ok(Module {
        id,
        name,
        origin,
        build_id: build_id(&layout, source),
        own_name: own_name(&layout, source),
        eh_frame: frames,
        eh_frame_hdr: header,
        debug_frame,
        text: range(b".text"),
        got: range(b".got"),
        extent: extent.ok_or(Unknown::NoSymbols)?,
        segments: loaded().copied().collect(),
    })
}

fn frames_header(layout: &Layout, source: &Source<'_>) -> Option<Section> {
    let segment = layout.segment(elf_file::EH_FRAME)?;
    Some(Section {
        start: segment.address,
        bytes: source
            .at_address(&layout.segments, segment.address, segment.memory_bytes, MOST_HEADER)?
            .into(),
    })
}

/// `.eh_frame` is not named by a segment; its header says where it begins, and it says itself where it ends.
fn frames(layout: &Layout, source: &Source<'_>, header: &Section) -> Option<Section> {
    let start = elf_file::eh_frame_address(&header.bytes, header.start)?;
    let holder = layout
        .loaded()
        .find(|segment| segment.address <= start && start < segment.end())?;
    let room = (holder.address.checked_add(holder.file_bytes)?.checked_sub(start)?).min(MOST_FRAMES);
    let mut bytes = source.at_address(&layout.segments, start, room, MOST_FRAMES)?;
    bytes.truncate(elf_file::eh_frame_bytes(&bytes));
    (!bytes.is_empty()).then(|| Section {
        start,
        bytes: bytes.into(),
    })
}

fn build_id(layout: &Layout, source: &Source<'_>) -> Option<Vec<u8>> {
    if let Some(notes) = layout.bytes_of(source, b".note.gnu.build-id", MOST_SMALL) {
        return elf_file::build_id(&notes).map(<[u8]>::to_vec);
    }
    let notes = layout.segments.iter().filter(|segment| segment.kind == elf_file::NOTE);
    notes
        .take(16)
        .filter_map(|note| source.at_address(&layout.segments, note.address, note.memory_bytes, MOST_SMALL))
        .find_map(|notes| elf_file::build_id(&notes).map(<[u8]>::to_vec))
}

/// The name that a library gives itself: `libc.so.6` in whatever file it lies.
fn own_name(layout: &Layout, source: &Source<'_>) -> Option<Box<str>> {
    let (dynamic, strings) = dynamic(layout, source)?;
    let at = strings.checked_add(dynamic.name?)?;
    // It may be the last of the strings, and those the last of the file.
    let name = [64, 16]
        .into_iter()
        .find_map(|bytes| source.at_address(&layout.segments, at, bytes, 64))?;
    let name = elf_file::text(&name, 0, 64)?;
    Some(String::from_utf8_lossy(name).into())
}

/// The dynamic section, and where its strings are as the file counts: the loader of a running
/// program may have put their address in memory there.
pub(in crate::observe::stacks) fn dynamic(layout: &Layout, source: &Source<'_>) -> Option<(elf_file::Dynamic, u64)> {
    let segment = layout.segment(elf_file::DYNAMIC)?;
    let table = source.at_address(&layout.segments, segment.address, segment.memory_bytes, MOST_SMALL)?;
    let mut dynamic = elf_file::parse_dynamic(&table);
    if let Source::Memory { bias, .. } = source {
        let extent = layout.loaded().map(Segment::end).max()?;
        let as_filed = |address: &mut Option<u64>| {
            if let Some(address) = address
                && *address >= *bias
                && *address - *bias < extent
            {
                *address -= *bias;
            }
        };
        as_filed(&mut dynamic.strings);
        as_filed(&mut dynamic.symbols);
        as_filed(&mut dynamic.hash);
        as_filed(&mut dynamic.gnu_hash);
    }
    Some((dynamic, dynamic.strings?))
}
