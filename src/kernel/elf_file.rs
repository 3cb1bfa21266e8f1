//! The tables of an ELF file: segments, sections, notes, dynamic entries and symbols, from bytes.
//!
//! Source: elf(5) and the System V gABI. Only what our own architecture runs is read: 64 bits, little
//! endian, our machine. Every function takes the bytes of one table and nothing else, so the file is
//! read piece by piece by whoever asks; nothing here follows an offset, and no count is believed
//! beyond the bytes that are there.

/// The header takes so many bytes.
pub const HEADER_BYTES: usize = 64;
pub const SEGMENT_BYTES: u64 = 56;
pub const SECTION_BYTES: u64 = 64;
pub const SYMBOL_BYTES: usize = 24;

/// More than any linker makes; a file that says more is cut here.
const MOST_SEGMENTS: u64 = 1024;
/// `-ffunction-sections` is for object files; programs have some forty.
const MOST_SECTIONS: u64 = 1 << 16;

#[cfg(target_arch = "x86_64")]
const OUR_MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const OUR_MACHINE: u16 = 183;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OUR_MACHINE: u16 = 0;

/// Why bytes are no ELF file that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// Another kind of file.
    NotElf,
    /// Of another word size, byte order or machine.
    Foreign,
}

/// Where a table lies in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub segments: Place,
    /// Empty where the file was stripped of them. With `uncounted`, the first section tells the count.
    pub sections: Place,
    pub uncounted: bool,
    /// Which section holds the names of sections; 0xffff: the first section's `link` tells.
    pub names: u16,
}

pub fn parse_header(bytes: &[u8]) -> Result<Header, NotRead> {
    match bytes.get(..6) {
        Some([0x7f, b'E', b'L', b'F', 2, 1]) => {}
        Some([0x7f, b'E', b'L', b'F', ..]) => return Err(NotRead::Foreign),
        _ => return Err(NotRead::NotElf),
    }
    let header = || {
        let machine = half(bytes, 18)?;
        let table = |offset: u64, size: u16, count: u64, expected: u64, most: u64| Place {
            offset,
            // Entries of another size are of a kind that we don't know.
            bytes: if u64::from(size) == expected {
                count.min(most) * expected
            } else {
                0
            },
        };
        let (segments, sections) = (long(bytes, 32)?, long(bytes, 40)?);
        let (segment_count, section_count) = (half(bytes, 56)?, half(bytes, 60)?);
        Some((
            machine,
            Header {
                segments: table(
                    segments,
                    half(bytes, 54)?,
                    segment_count.into(),
                    SEGMENT_BYTES,
                    MOST_SEGMENTS,
                ),
                sections: table(
                    sections,
                    half(bytes, 58)?,
                    u64::from(section_count.max(1)),
                    SECTION_BYTES,
                    MOST_SECTIONS,
                ),
                uncounted: section_count == 0,
                names: half(bytes, 62)?,
            },
        ))
    };
    match header() {
        Some((machine, mut header)) if machine == OUR_MACHINE => {
            if header.sections.offset == 0 {
                header.sections.bytes = 0;
            }
            Ok(header)
        }
        Some(_) => Err(NotRead::Foreign),
        None => Err(NotRead::NotElf),
    }
}

/// How long the table of sections is by its own first entry, for files with very many.
pub fn uncounted_sections(first: &Section) -> u64 {
    first.size.min(MOST_SECTIONS) * SECTION_BYTES
}

pub const LOAD: u32 = 1;
pub const DYNAMIC: u32 = 2;
pub const NOTE: u32 = 4;
pub const EH_FRAME: u32 = 0x6474_e550;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub address: u64,
    pub file_bytes: u64,
    pub memory_bytes: u64,
}

impl Segment {
    pub fn is_executable(&self) -> bool {
        self.flags & 1 != 0
    }

    pub fn is_writable(&self) -> bool {
        self.flags & 2 != 0
    }

    /// One past its last address.
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.memory_bytes)
    }
}

pub fn parse_segments(table: &[u8]) -> Vec<Segment> {
    let entries = table.chunks_exact(SEGMENT_BYTES as usize);
    entries
        .filter_map(|entry| {
            Some(Segment {
                kind: word(entry, 0)?,
                flags: word(entry, 4)?,
                offset: long(entry, 8)?,
                address: long(entry, 16)?,
                file_bytes: long(entry, 32)?,
                memory_bytes: long(entry, 40)?,
            })
        })
        .collect()
}

pub const SYMBOLS: u32 = 2;
pub const NO_BYTES: u32 = 8;
pub const DYNAMIC_SYMBOLS: u32 = 11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Where its name begins in the section of names.
    pub name: u32,
    pub kind: u32,
    pub flags: u64,
    pub address: u64,
    pub offset: u64,
    pub size: u64,
    pub link: u32,
    pub info: u32,
}

impl Section {
    pub fn is_compressed(&self) -> bool {
        self.flags & 0x800 != 0
    }

    /// Whether the file holds bytes of it.
    pub fn has_bytes(&self) -> bool {
        self.kind != NO_BYTES && self.kind != 0 && self.size > 0
    }
}

pub fn parse_sections(table: &[u8]) -> Vec<Section> {
    let entries = table.chunks_exact(SECTION_BYTES as usize);
    entries
        .filter_map(|entry| {
            Some(Section {
                name: word(entry, 0)?,
                kind: word(entry, 4)?,
                flags: long(entry, 8)?,
                address: long(entry, 16)?,
                offset: long(entry, 24)?,
                size: long(entry, 32)?,
                link: word(entry, 40)?,
                info: word(entry, 44)?,
            })
        })
        .collect()
}

/// The text at `offset`, up to its NUL or `most` bytes.
pub fn text(strings: &[u8], offset: u64, most: usize) -> Option<&[u8]> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let rest = &rest[..rest.len().min(most)];
    Some(&rest[..rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len())])
}

/// The description of the note `GNU` 3: what the linker computed from the file's contents.
pub fn build_id(notes: &[u8]) -> Option<&[u8]> {
    const GNU_BUILD_ID: u32 = 3;
    let padded = |bytes: u32| usize::try_from(bytes).ok()?.checked_next_multiple_of(4);
    let mut rest = notes;
    loop {
        let (name, description, kind) = (word(rest, 0)?, word(rest, 4)?, word(rest, 8)?);
        let body = &rest[12..];
        let after = body.get(padded(name)?..)?;
        if kind == GNU_BUILD_ID && name == 4 && body.starts_with(b"GNU\0") {
            let id = after.get(..description as usize)?;
            return (2..=64).contains(&id.len()).then_some(id);
        }
        rest = after.get(padded(description)?..)?;
    }
}

/// What `.gnu_debuglink` says: a file's name, and the CRC32 of its bytes.
pub fn debug_link(section: &[u8]) -> Option<(&[u8], u32)> {
    let name = text(section, 0, 255)?;
    let at = (name.len() + 1).checked_next_multiple_of(4)?;
    let plain = !name.is_empty() && !name.contains(&b'/') && name != b"." && name != b"..";
    plain.then_some((name, word(section, at)?))
}

/// What the dynamic section says of a file's symbols. Addresses are as they stand there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    pub strings: Option<u64>,
    pub strings_bytes: Option<u64>,
    pub symbols: Option<u64>,
    pub hash: Option<u64>,
    pub gnu_hash: Option<u64>,
    /// Offset into the strings.
    pub name: Option<u64>,
}

pub fn parse_dynamic(table: &[u8]) -> Dynamic {
    let mut found = Dynamic::default();
    for entry in table.chunks_exact(16) {
        let (Some(tag), Some(value)) = (long(entry, 0), long(entry, 8)) else {
            break;
        };
        match tag {
            0 => break,
            4 => found.hash = Some(value),
            5 => found.strings = Some(value),
            6 => found.symbols = Some(value),
            10 => found.strings_bytes = Some(value),
            14 => found.name = Some(value),
            0x6fff_fef5 => found.gnu_hash = Some(value),
            _ => {}
        }
    }
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Offset into the strings.
    pub name: u32,
    pub kind: SymbolKind,
    pub binding: Binding,
    /// The section that it lies in.
    pub section: u16,
    pub address: u64,
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    Function,
    Variable,
    /// What an assembler left untyped.
    Label,
}

/// From the one to prefer to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    Global,
    Weak,
    Local,
}

/// One entry of a table of symbols. `None`: it is defined elsewhere, or names no place in memory.
pub fn parse_symbol(entry: &[u8]) -> Option<Symbol> {
    let (info, section) = (*entry.get(4)?, half(entry, 6)?);
    const UNDEFINED: u16 = 0;
    const ABSOLUTE: u16 = 0xfff1;
    const COMMON: u16 = 0xfff2;
    if matches!(section, UNDEFINED | ABSOLUTE | COMMON) {
        return None;
    }
    Some(Symbol {
        name: word(entry, 0)?,
        kind: match info & 15 {
            0 => SymbolKind::Label,
            1 => SymbolKind::Variable,
            // 10: a function that is chosen when the program is loaded.
            2 | 10 => SymbolKind::Function,
            // Sections, files, and offsets of thread-locals.
            _ => return None,
        },
        binding: match info >> 4 {
            // 10: one of its kind in the whole process.
            1 | 10 => Binding::Global,
            2 => Binding::Weak,
            _ => Binding::Local,
        },
        section,
        address: long(entry, 8)?,
        size: long(entry, 16)?,
    })
}

/// Where `.eh_frame` begins, as `.eh_frame_hdr` at `address` says.
/// Source: the Linux Standard Base, "DWARF Extensions".
pub fn eh_frame_address(header: &[u8], address: u64) -> Option<u64> {
    let (version, encoding) = (*header.first()?, *header.get(1)?);
    let (short, here) = (word(header, 4)?, address.checked_add(4)?);
    match (version, encoding) {
        // Relative to itself, as all linkers write it; and absolute.
        (1, 0x1b) => Some(here.wrapping_add_signed(i64::from(short as i32))),
        (1, 0x03) => Some(short.into()),
        _ => None,
    }
}

/// How many bytes of call frame information there are up to its end mark.
pub fn eh_frame_bytes(frames: &[u8]) -> usize {
    let mut at = 0usize;
    loop {
        let Some(length) = word(frames, at) else {
            return at.min(frames.len());
        };
        let next = match length {
            0 => return at + 4,
            u32::MAX => long(frames, at + 4).and_then(|long| (at + 12).checked_add(usize::try_from(long).ok()?)),
            length => (at + 4).checked_add(length as usize),
        };
        match next {
            Some(next) if next <= frames.len() => at = next,
            // What is cut off is no use to anyone.
            _ => return at,
        }
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
