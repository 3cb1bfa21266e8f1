//! A module's own names: functions and variables by address, from `.symtab`, else from `.dynsym`.
//!
//! A file may have a hundred thousand symbols; each takes 16 bytes here, and its name stays where it was
//! in the file's strings until somebody asks for it.

use crate::kernel::elf_file::{self, Binding, Symbol, SymbolKind};
use crate::observe::stacks::space::{Layout, Source, dynamic, place};

/// 1.4 million symbols; what has more is named by its dynamic symbols. The largest table must fit into what is
/// kept, or it would be read again for each question.
const MOST_SYMBOLS: u64 = 32 << 20;
const MOST_STRINGS: u64 = 32 << 20;
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
    functions: Vec<Raw>,
    variables: Vec<Raw>,
    strings: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Raw {
    entry: Entry,
    rank: u8,
    /// Of its section, where that is known.
    end: u64,
}

impl Gathered {
    /// Adds what the table of sections leads to; false where there is no `.symtab`.
    pub fn add_file(&mut self, layout: &Layout, source: &Source<'_>) -> bool {
        let full = self.add_section(layout, source, elf_file::SYMBOLS);
        if !full && !self.add_section(layout, source, elf_file::DYNAMIC_SYMBOLS) {
            self.add_loaded(layout, source);
        }
        self.add_stubs(layout, source);
        full
    }

    fn add_section(&mut self, layout: &Layout, source: &Source<'_>, kind: u32) -> bool {
        let Some((symbols, strings)) = tables(layout, source, kind) else {
            return false;
        };
        self.add(&layout.sections, &symbols, &strings);
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
            self.add(&[], &symbols, &strings);
        }
    }

    fn add(&mut self, sections: &[elf_file::Section], symbols: &[u8], strings: &[u8]) {
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
            let section = sections.get(usize::from(symbol.section));
            of_its_kind.push(Raw {
                entry,
                rank: rank(&symbol, name),
                end: section.map_or(u64::MAX, |section| section.address.saturating_add(section.size)),
            });
        }
    }

    /// The jumps through which a module calls other modules: `write@plt`. They have no symbols; the relocations
    /// of their slots are in their order.
    fn add_stubs(&mut self, layout: &Layout, source: &Source<'_>) {
        const RELOCATION_BYTES: usize = 24;
        let (stubs, first) = match layout.section(b".plt.sec") {
            Some(stubs) => (stubs, 0),
            // The first one is for the loader, and longer on AArch64.
            None => match layout.section(b".plt") {
                Some(stubs) => (stubs, if cfg!(target_arch = "aarch64") { 32 } else { 16 }),
                None => return,
            },
        };
        let Some(relocations) = layout.bytes_of(source, b".rela.plt", MOST_HASH) else {
            return;
        };
        let count = (relocations.len() / RELOCATION_BYTES) as u64;
        let Some((symbols, strings)) = tables(layout, source, elf_file::DYNAMIC_SYMBOLS) else {
            return;
        };
        let Some(size) = stubs.size.checked_sub(first).and_then(|bytes| bytes.checked_div(count)) else {
            return;
        };
        if !matches!(size, 16 | 24) {
            return;
        }
        for (at, relocation) in relocations.chunks_exact(RELOCATION_BYTES).enumerate() {
            let named = || {
                let symbol = usize::try_from(elf_file::long(relocation, 8)? >> 32).ok()?;
                let name = elf_file::word(&symbols, symbol.checked_mul(elf_file::SYMBOL_BYTES)?)?;
                elf_file::text(&strings, name.into(), 4096).filter(|name| symbol > 0 && !name.is_empty())
            };
            let Some(name) = named() else { continue };
            let Ok(at_name) = u32::try_from(self.strings.len()) else {
                return;
            };
            // Names may be long and shared: not each relocation may bring a copy of the whole.
            if self.strings.len() + name.len() > MOST_STRINGS as usize {
                return;
            }
            self.strings.extend_from_slice(name);
            self.strings.extend_from_slice(b"@plt\0");
            let address = stubs.address.saturating_add(first).saturating_add(at as u64 * size);
            self.functions.push(Raw {
                entry: Entry {
                    address,
                    size: size as u32,
                    name: at_name,
                },
                rank: u8::MAX,
                end: u64::MAX,
            });
        }
    }

    pub fn table(mut self) -> Table {
        self.strings.shrink_to_fit();
        Table {
            functions: sorted(self.functions),
            variables: sorted(self.variables),
            strings: self.strings,
        }
    }
}

/// A table of symbols and its strings.
fn tables(layout: &Layout, source: &Source<'_>, kind: u32) -> Option<(Vec<u8>, Vec<u8>)> {
    let is_it = |section: &&elf_file::Section| section.kind == kind && section.has_bytes() && !section.is_compressed();
    let table = layout.sections.iter().find(is_it)?;
    let strings = layout.sections.get(table.link as usize)?;
    Some((
        source.at_offset(place(table), MOST_SYMBOLS)?,
        source.at_offset(place(strings), MOST_STRINGS)?,
    ))
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

fn sorted(mut entries: Vec<Raw>) -> Vec<Entry> {
    entries.sort_by_key(|raw| (raw.entry.address, raw.rank));
    // What has no size reaches to the next address that has a name, within its section.
    let (mut next, mut here) = (u64::MAX, u64::MAX);
    for raw in entries.iter_mut().rev() {
        let address = raw.entry.address;
        if address != here {
            (next, here) = (here, address);
        }
        if raw.entry.size == 0 {
            let end = next.min(raw.end).min(address.saturating_add(MOST_UNSIZED));
            raw.entry.size = end.saturating_sub(address) as u32;
        }
    }
    let mut entries: Vec<Entry> = entries.into_iter().map(|raw| raw.entry).collect();
    // It may have been collected in place, with room for twice as many.
    entries.shrink_to_fit();
    entries
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
        for _ in 0..LOOK_BACK {
            let start = entries[..after].last()?.address;
            let first = entries[..after].partition_point(|entry| entry.address < start);
            let holds = |entry: &&Entry| address - start < u64::from(entry.size);
            if let Some(entry) = entries[first..after].iter().take(LOOK_BACK).find(holds) {
                let name = elf_file::text(&self.strings, entry.name.into(), super::demangle::MOST_BYTES + 1)?;
                return Some(Hit { name, start });
            }
            after = first;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table of (name, kind and binding, section, address, size), of sections that end there.
    fn table(symbols: &[(&str, u8, u16, u64, u64)], ends: &[u64]) -> Table {
        let (mut strings, mut entries) = (vec![0], Vec::new());
        for (name, info, section, address, size) in symbols {
            entries.extend_from_slice(&(strings.len() as u32).to_le_bytes());
            entries.extend_from_slice(&[*info, 0]);
            entries.extend_from_slice(&section.to_le_bytes());
            entries.extend_from_slice(&address.to_le_bytes());
            entries.extend_from_slice(&size.to_le_bytes());
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
        }
        let section = |end: &u64| elf_file::Section {
            name: 0,
            kind: 1,
            flags: 0,
            address: 0,
            offset: 0,
            size: *end,
            link: 0,
            info: 0,
        };
        let sections: Vec<elf_file::Section> = ends.iter().map(section).collect();
        let mut gathered = Gathered::default();
        gathered.add(&sections, &entries, &strings);
        gathered.table()
    }

    const FUNCTION: u8 = 2;
    const GLOBAL: u8 = 1 << 4;
    const WEAK: u8 = 2 << 4;

    fn check(table: &Table, address: u64, expected: Option<&str>) {
        let found = table
            .function(address)
            .map(|hit| String::from_utf8_lossy(hit.name).into_owned());
        assert_eq!(found.as_deref(), expected, "{address:x}");
    }

    #[test]
    fn an_address_behind_a_function_is_not_in_it() {
        let table = table(
            &[
                ("first", FUNCTION, 1, 0x100, 0x10),
                ("second", FUNCTION, 1, 0x200, 0x10),
            ],
            &[],
        );
        for (address, expected) in [
            (0xff, None),
            (0x100, Some("first")),
            (0x10f, Some("first")),
            (0x110, None),
            (0x1ff, None),
            (0x20f, Some("second")),
            (u64::MAX, None),
        ] {
            check(&table, address, expected);
        }
    }

    #[test]
    fn what_has_no_size_reaches_to_the_next_or_to_its_section_s_end() {
        let symbols = [
            ("_init", FUNCTION, 1, 0x100, 0),
            ("label", 0, 2, 0x400, 0),
            ("alias", 0, 2, 0x400, 0),
            ("next", FUNCTION, 2, 0x420, 8),
        ];
        let table = table(&symbols, &[0, 0x11b, 0x1000]);
        check(&table, 0x11a, Some("_init"));
        check(&table, 0x11b, None);
        check(&table, 0x41f, Some("label"));
        check(&table, 0x428, None);
    }

    #[test]
    fn of_several_names_the_one_that_programmers_call_comes_first() {
        let symbols = [
            ("__poll", FUNCTION | GLOBAL, 1, 0x100, 0x10),
            ("poll", FUNCTION | WEAK, 1, 0x100, 0x10),
            ("__GI_poll", FUNCTION, 1, 0x100, 0x10),
            ("0label", 0, 1, 0x100, 0),
        ];
        let table = table(&symbols, &[]);
        check(&table, 0x108, Some("poll"));
        assert_eq!(table.address_of(b"__GI_poll"), Some(0x100));
        assert_eq!(table.address_of(b"__GI"), None);
    }

    #[test]
    fn a_label_within_a_function_does_not_end_it() {
        let symbols = [
            ("whole", FUNCTION, 1, 0x100, 0x100),
            ("inner", FUNCTION, 1, 0x120, 0x10),
            ("$x", 0, 1, 0x140, 0),
        ];
        let table = table(&symbols, &[]);
        check(&table, 0x125, Some("inner"));
        check(&table, 0x150, Some("whole"));
    }

    #[test]
    fn a_name_may_carry_a_version_and_end_at_the_end() {
        let table = table(&[("write@@GLIBC_2.2.5", FUNCTION, 1, 0x100, 1)], &[]);
        assert_eq!(table.address_of(b"write"), Some(0x100));
        assert_eq!(table.address_of(b"write@@GLIBC_2.2.5"), Some(0x100));
        assert_eq!(table.address_of(b"writ"), None);
    }

    proptest! {
        #[test]
        fn any_entries_are_a_table(
            entries: Vec<u8>, strings: Vec<u8>, addresses: Vec<u64>, name: Vec<u8>,
        ) {
            let mut gathered = Gathered::default();
            gathered.add(&[], &entries, &strings);
            gathered.add(&[], &entries, &strings);
            let table = gathered.table();
            for address in addresses {
                let _ = (table.function(address), table.variable(address));
            }
            let _ = table.address_of(&name);
        }
    }
}
