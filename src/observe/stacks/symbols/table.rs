//! A module's own names: functions and variables by address, from `.symtab`, else from `.dynsym`.
//!
//! A file may have a hundred thousand symbols; each takes 16 bytes here, and its name stays where it was
//! in the file's strings until somebody asks for it.

use crate::kernel::elf_file::{self, Binding, Symbol, SymbolKind};
use crate::observe::stacks::space::{Layout, Source, dynamic, place};

/// 2.7 million symbols.
const MOST_SYMBOLS: u64 = 64 << 20;
const MOST_STRINGS: u64 = 64 << 20;
const MOST_HASH: u64 = 4 << 20;
/// What an assembler gave no size reaches to the next symbol, but not further than this.
const MOST_UNSIZED: u64 = 64 << 10;
/// How many addresses with symbols before an address may be of one that holds it: labels within a function come
/// between, mostly. And how many names of one address are looked at.
const LOOK_BACK: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    address: u64,
    size: u32,
    name: u32,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    /// Sorted by address; of several at one address, the one to call it by comes first.
    functions: Vec<Entry>,
    variables: Vec<Entry>,
    strings: Vec<u8>,
}

/// A symbol that holds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit<'a> {
    pub name: &'a [u8],
    pub start: u64,
}

/// Symbols on their way into a table.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    functions: Vec<(Entry, u8)>,
    variables: Vec<(Entry, u8)>,
    strings: Vec<u8>,
}

impl Gathered {
    /// Adds what the table of sections leads to; false where there is no `.symtab`.
    pub fn add_file(&mut self, layout: &Layout, source: &Source<'_>) -> bool {
        let full = self.add_section(layout, source, elf_file::SYMBOLS);
        if !full && !self.add_section(layout, source, elf_file::DYNAMIC_SYMBOLS) {
            self.add_loaded(layout, source);
        }
        full
    }

    fn add_section(&mut self, layout: &Layout, source: &Source<'_>, kind: u32) -> bool {
        let table = layout
            .sections
            .iter()
            .find(|section| section.kind == kind && section.has_bytes());
        let read = || {
            let table = table.filter(|table| !table.is_compressed())?;
            let strings = layout.sections.get(table.link as usize)?;
            Some((
                source.at_offset(place(table), MOST_SYMBOLS)?,
                source.at_offset(place(strings), MOST_STRINGS)?,
            ))
        };
        let Some((symbols, strings)) = read() else { return false };
        self.add(&symbols, &strings);
        true
    }

    /// What the dynamic section leads to: all there is in memory.
    fn add_loaded(&mut self, layout: &Layout, source: &Source<'_>) {
        let read = || {
            let (dynamic, strings) = dynamic(layout, source)?;
            let count = match (dynamic.hash, dynamic.gnu_hash) {
                // Its second word is the number of symbols.
                (Some(hash), _) => {
                    let hash = source.at_address(&layout.segments, hash, 8, MOST_HASH)?;
                    elf_file::word(&hash, 4)?.into()
                }
                (None, Some(hash)) => counted(layout, source, hash)?,
                (None, None) => return None,
            };
            let bytes = count.checked_mul(elf_file::SYMBOL_BYTES as u64)?;
            Some((
                source.at_address(&layout.segments, dynamic.symbols?, bytes, MOST_SYMBOLS)?,
                source.at_address(&layout.segments, strings, dynamic.strings_bytes?, MOST_STRINGS)?,
            ))
        };
        if let Some((symbols, strings)) = read() {
            self.add(&symbols, &strings);
        }
    }

    fn add(&mut self, symbols: &[u8], strings: &[u8]) {
        let Ok(shift) = u32::try_from(self.strings.len()) else {
            return;
        };
        self.strings.extend_from_slice(strings);
        for entry in symbols.chunks_exact(elf_file::SYMBOL_BYTES) {
            let Some(symbol) = elf_file::parse_symbol(entry) else {
                continue;
            };
            let Some(name) = elf_file::text(strings, symbol.name.into(), 4).filter(|name| !name.is_empty()) else {
                continue;
            };
            // What compilers and assemblers mark for themselves.
            if symbol.kind == SymbolKind::Label && (name.starts_with(b"$") || name.starts_with(b".L")) {
                continue;
            }
            let entry = Entry {
                address: symbol.address,
                size: u32::try_from(symbol.size).unwrap_or(u32::MAX),
                name: symbol.name.saturating_add(shift),
            };
            let of_its_kind = match symbol.kind {
                SymbolKind::Function | SymbolKind::Label => &mut self.functions,
                SymbolKind::Variable => &mut self.variables,
            };
            of_its_kind.push((entry, rank(&symbol, name)));
        }
    }

    pub fn table(self) -> Table {
        Table {
            functions: sorted(self.functions),
            variables: sorted(self.variables),
            strings: self.strings,
        }
    }
}

/// Of several names for one address, the one that a programmer would call it by comes first: typed and sized,
/// without underscores (`poll` rather than `__poll`), and visible from outside.
fn rank(symbol: &Symbol, name: &[u8]) -> u8 {
    let underscores = name.iter().take(3).take_while(|byte| **byte == b'_').count() as u8;
    let binding = match symbol.binding {
        Binding::Global => 0,
        Binding::Weak => 1,
        Binding::Local => 2,
    };
    u8::from(symbol.kind == SymbolKind::Label) << 5 | u8::from(symbol.size == 0) << 4 | underscores << 2 | binding
}

fn sorted(mut entries: Vec<(Entry, u8)>) -> Vec<Entry> {
    entries.sort_by_key(|(entry, rank)| (entry.address, *rank));
    entries.into_iter().map(|(entry, _)| entry).collect()
}

/// How many symbols a GNU hash table leads to: its chains end with the last symbol.
/// Source: "GNU Hash ELF Sections" by Ali Bahrami.
fn counted(layout: &Layout, source: &Source<'_>, hash: u64) -> Option<u64> {
    let head = source.at_address(&layout.segments, hash, 16, 16)?;
    let word = |at: usize| elf_file::word(&head, at).map(u64::from);
    let (bucket_count, first, bloom) = (word(0)?, word(4)?, word(8)?);
    let buckets_at = hash.checked_add(16 + bloom * 8)?;
    let buckets = source.at_address(&layout.segments, buckets_at, bucket_count * 4, MOST_HASH)?;
    let last = buckets
        .chunks_exact(4)
        .filter_map(|bucket| elf_file::word(bucket, 0))
        .max()?;
    let mut last = u64::from(last);
    if last < first {
        return Some(first);
    }
    let chains = buckets_at.checked_add(bucket_count * 4)?;
    // The last chain is a few words long; a table that never ends it is none.
    for _ in 0..65_536 {
        let at = chains.checked_add((last - first) * 4)?;
        let link = elf_file::word(&source.at_address(&layout.segments, at, 4, 4)?, 0)?;
        last += 1;
        if link & 1 == 1 {
            return Some(last);
        }
    }
    None
}

impl Table {
    pub fn function(&self, address: u64) -> Option<Hit<'_>> {
        self.holder(&self.functions, address)
    }

    pub fn variable(&self, address: u64) -> Option<Hit<'_>> {
        self.holder(&self.variables, address)
    }

    /// The address of a symbol, by its name without a version.
    pub fn address_of(&self, name: &[u8]) -> Option<u64> {
        let is = |entry: &&Entry| {
            let found = elf_file::text(&self.strings, entry.name.into(), name.len() + 1);
            found.is_some_and(|found| found == name || (found.starts_with(name) && found[name.len()] == b'@'))
        };
        let found = self
            .variables
            .iter()
            .find(is)
            .or_else(|| self.functions.iter().find(is));
        found.map(|entry| entry.address)
    }

    pub fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.variables.is_empty()
    }

    pub fn bytes(&self) -> usize {
        (self.functions.capacity() + self.variables.capacity()) * size_of::<Entry>() + self.strings.capacity()
    }

    fn holder(&self, entries: &[Entry], address: u64) -> Option<Hit<'_>> {
        let mut after = entries.partition_point(|entry| entry.address <= address);
        let next = entries.get(after).map_or(u64::MAX, |entry| entry.address);
        let mut is_nearest = true;
        for _ in 0..LOOK_BACK {
            let start = entries[..after].last()?.address;
            let first = entries[..after].partition_point(|entry| entry.address < start);
            let distance = address - start;
            let holds = |entry: &&Entry| match entry.size {
                // Only the nearest one may reach to the next.
                0 => is_nearest && address < next && distance < MOST_UNSIZED,
                size => distance < u64::from(size),
            };
            if let Some(entry) = entries[first..after].iter().take(LOOK_BACK).find(holds) {
                let name = elf_file::text(&self.strings, entry.name.into(), super::demangle::MOST_BYTES + 1)?;
                return Some(Hit { name, start });
            }
            (after, is_nearest) = (first, false);
        }
        None
    }
}
