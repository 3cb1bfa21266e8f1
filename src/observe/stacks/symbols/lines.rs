//! Files, lines and inlined functions, from a module's DWARF.
//!
//! The sections are read whole into memory, so a module with very much of it has no lines: what that
//! costs is bounded, and the log says so. What `addr2line` has made of a unit it keeps for the next
//! address. Broken DWARF gives what can be read of it.

use std::sync::Arc;

use addr2line::Context;
use gimli::{EndianArcSlice, LittleEndian, SectionId};
use parking_lot::Mutex;

use super::demangle;
use crate::model::Function;
use crate::observe::stacks::space::{Layout, Source, decompressed, place};

/// All sections of one module together, after they were decompressed.
pub(super) const MOST_DWARF: usize = 48 << 20;
/// Deeper than compilers put functions into each other.
const MOST_INLINED: usize = 64;
const MOST_PATH: usize = 4096;

type Bytes = EndianArcSlice<LittleEndian>;

/// The DWARF of one module.
pub(super) struct Lines {
    context: Mutex<Context<Bytes>>,
    bytes: usize,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// The sections that lines and inlined functions are made of.
const SECTIONS: [SectionId; 10] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

/// Whether a file has DWARF at all.
pub(super) fn has_any(layout: &Layout) -> bool {
    layout
        .section(b".debug_info")
        .is_some_and(|section| section.has_bytes())
}

impl Lines {
    /// `None`: there is no DWARF, too much of it, or none that can be read.
    pub fn read(name: &str, layout: &Layout, source: &Source<'_>) -> Option<Lines> {
        if !has_any(layout) {
            return None;
        }
        let mut left = MOST_DWARF;
        let mut sections = Vec::with_capacity(SECTIONS.len());
        for id in SECTIONS {
            match section(layout, source, id, left) {
                Some(bytes) => {
                    left -= bytes.len();
                    sections.push((id, bytes));
                }
                None => {
                    tracing::debug!(
                        module = name,
                        section = id.name(),
                        most = MOST_DWARF,
                        "no lines: DWARF is broken or too large"
                    );
                    return None;
                }
            }
        }
        let none: Arc<[u8]> = Arc::new([]);
        let load = |id: SectionId| {
            let found = sections.iter().find(|(found, _)| *found == id);
            let bytes = found.map_or(&none, |(_, bytes)| bytes);
            Ok::<_, gimli::Error>(EndianArcSlice::new(Arc::clone(bytes), LittleEndian))
        };
        let context = Context::from_dwarf(gimli::Dwarf::load(load).ok()?).ok()?;
        Some(Lines {
            context: Mutex::new(context),
            bytes: MOST_DWARF - left,
        })
    }

    /// With an allowance for what is made of it, which grows with use.
    pub fn bytes(&self) -> usize {
        self.bytes + self.bytes / 4
    }

    /// The functions at an address, innermost first, as far as DWARF knows them. The last is the physical one, whose
    /// name may be empty where only the line is known.
    pub fn at(&self, address: u64, intern: &mut impl FnMut(&str) -> Arc<str>) -> Vec<Function> {
        let context = self.context.lock();
        let mut found = Vec::new();
        // addr2line adds 1 to what it is asked for. No code lies at the last address.
        if address == u64::MAX {
            return found;
        }
        let Ok(mut frames) = context.find_frames(address).skip_all_loads() else {
            return found;
        };
        while found.len() < MOST_INLINED {
            let Ok(Some(frame)) = frames.next() else { break };
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let (file, line) = match &frame.location {
                Some(location) => (
                    location.file.map(|file| intern(cut(file))),
                    // 0 stands for code that no line made.
                    location.line.filter(|line| *line > 0),
                ),
                None => (None, None),
            };
            found.push(Function {
                name: name.map_or_else(|| Arc::from(""), |name| demangle::plain(name.as_bytes())),
                file,
                line,
                inlined: true,
            });
        }
        if let Some(physical) = found.last_mut() {
            physical.inlined = false;
        }
        found
    }
}

fn cut(path: &str) -> &str {
    let mut end = path.len().min(MOST_PATH);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
}

/// One section's bytes; empty where the file has none. `None`: broken, or more than `most`.
fn section(layout: &Layout, source: &Source<'_>, id: SectionId, most: usize) -> Option<Arc<[u8]>> {
    let none = || Some(Arc::from([]));
    if let Some(section) = layout.section(id.name().as_bytes()) {
        if !section.has_bytes() {
            return none();
        }
        let bytes = source.at_offset(place(section), most as u64)?;
        return if section.is_compressed() {
            decompressed(&bytes, most)
        } else {
            Some(bytes.into())
        };
    }
    none()
}
