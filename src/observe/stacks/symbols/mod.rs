//! Names for addresses: functions (inlined ones too), files, lines, and the variables of modules.
//!
//! A module's `table` gives functions and variables, its `lines` what the compiler put into a function
//! and where that was written; both are read when a name is first asked for, from the module itself or
//! from a separate `debug_file`. Code made at run time is named by its `perf_map`. What was found for
//! an address is kept, so a second dump of the same threads asks no file for anything but whether it
//! is still the same.
//!
//! A return address follows its call, and may be in another function already where the call never
//! returns. So such a place is looked up one byte before.

mod debug_file;
mod demangle;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod lines;
mod perf_map;
mod table;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::lines::Lines;
use self::perf_map::PerfMap;
use self::table::{Gathered, Table};
use super::space::{AddressSpace, Again, Bounded, FileKey, Layout, Mapped, Module, Source, within};
use crate::model::{Evidence, Function, Pid, Place, Unknown};

/// Tables and DWARF together. Room for the largest of either that is read.
const KEPT_PARTS: usize = 64 << 20;
const KEPT_NAMES: usize = 8 << 20;
const KEPT_MAPS: usize = 16 << 20;
/// For all names of one dump that are not known yet.
const PATIENCE: Duration = Duration::from_secs(3);
/// After that names come without files and lines: better than none at all.
const PATIENCE_FOR_LINES: Duration = Duration::from_secs(2);

/// Bounded; shared by all who ask.
#[derive(Debug)]
pub(in crate::observe) struct Symbols {
    kept: Arc<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// By the module's id.
    parts: Bounded<(Which, u64), Part>,
    /// By the module's id and the address as the file counts.
    names: Bounded<(u64, u64), Arc<Named>>,
    maps: Bounded<FileKey, Arc<PerfMap>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Which {
    Table,
    Lines,
}

/// What was read of a module for its names.
#[derive(Clone, Debug)]
enum Part {
    Table(Evidence<Arc<Table>>),
    /// `NoSymbols`: it has been looked for, and there are none.
    Lines(Evidence<Arc<Lines>>),
}

/// What lies at an address of a module.
#[derive(Clone, Debug)]
struct Named {
    functions: Evidence<Vec<Function>>,
    /// Where the physical function begins.
    start: Option<u64>,
}

/// A name in a module's symbol table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::observe) struct Variable {
    pub module: Arc<str>,
    pub name: Arc<str>,
    pub offset: u64,
}

/// An address whose name is asked for.
#[derive(Debug)]
struct Probe<'a> {
    address: u64,
    /// Where it is looked up: before the call's end, where it follows one.
    at: u64,
    mapped: Option<&'a Mapped>,
}

impl<'a> Probe<'a> {
    fn new(space: &'a AddressSpace, (address, after_call): (u64, bool)) -> Probe<'a> {
        let at = address.wrapping_sub(u64::from(after_call));
        Probe {
            address,
            at,
            mapped: space.find(at),
        }
    }

    fn module(&self) -> Option<&'a Arc<Module>> {
        self.mapped?.module.as_ref().ok()
    }

    /// The module's id, and the address as its file counts.
    fn key(&self) -> Option<(u64, u64)> {
        Some((self.module()?.id, self.at.wrapping_sub(self.mapped?.bias)))
    }
}

/// Addresses of one module that have no name yet.
#[derive(Debug)]
struct Wanted {
    again: Again,
    addresses: Vec<u64>,
}

impl Symbols {
    pub fn new() -> Symbols {
        Symbols {
            kept: Arc::new(Kept {
                parts: Bounded::new(KEPT_PARTS),
                names: Bounded::new(KEPT_NAMES),
                maps: Bounded::new(KEPT_MAPS),
            }),
        }
    }

    /// What lies at each of these addresses of code, in their order. `after_call`: the address follows a
    /// call, so function, file and line are those of the byte before it.
    pub fn places(&self, pid: Pid, space: &AddressSpace, addresses: &[(u64, bool)]) -> Vec<Arc<Place>> {
        let probes: Vec<Probe<'_>> = addresses.iter().map(|asked| Probe::new(space, *asked)).collect();
        let named = self.named(space, &probes);
        let mut map = None;
        let places = probes.iter().zip(named).map(|(probe, named)| {
            let nothing = Place {
                address: probe.address,
                module: None,
                module_address: 0,
                functions: Err(Unknown::NoSymbols),
                function_offset: None,
            };
            let Some(mapped) = probe.mapped else { return nothing };
            let module = (!mapped.name.is_empty()).then(|| Arc::clone(&mapped.name));
            match (&mapped.module, named) {
                (Ok(_), named) => {
                    let filed = probe.address.wrapping_sub(mapped.bias);
                    Place {
                        module,
                        module_address: filed,
                        function_offset: named.as_ref().and_then(|named| filed.checked_sub(named.start?)),
                        functions: named.map_or(Err(Unknown::Late), |named| named.functions.clone()),
                        ..nothing
                    }
                }
                (Err(_), _) if mapped.is_made_code() => {
                    let map = map.get_or_insert_with(|| self.perf_map(pid, space));
                    match map.as_ref().and_then(|map| map.at(probe.at)) {
                        Some((name, start)) => Place {
                            functions: Ok(vec![function(name)]),
                            function_offset: probe.address.checked_sub(start),
                            ..nothing
                        },
                        None => nothing,
                    }
                }
                (Err(why), _) => Place {
                    module,
                    functions: Err(*why),
                    ..nothing
                },
            }
        });
        places.map(Arc::new).collect()
    }

    /// The names of addresses in modules, in their order. `None`: in no module, or it took too long.
    fn named(&self, space: &AddressSpace, probes: &[Probe<'_>]) -> Vec<Option<Arc<Named>>> {
        let mut named: Vec<Option<Arc<Named>>> =
            probes.iter().map(|probe| self.kept.names.get(&probe.key()?)).collect();
        let mut wanted: HashMap<u64, (&Arc<Module>, Vec<u64>)> = HashMap::new();
        for (probe, _) in probes.iter().zip(&named).filter(|(_, named)| named.is_none()) {
            if let (Some(module), Some((id, address))) = (probe.module(), probe.key()) {
                wanted.entry(id).or_insert_with(|| (module, Vec::new())).1.push(address);
            }
        }
        if wanted.is_empty() {
            return named;
        }
        let wanted: Vec<Wanted> = wanted
            .into_values()
            .filter_map(|(module, mut addresses)| {
                let again = space.again(module)?;
                addresses.sort_unstable();
                addresses.dedup();
                Some(Wanted { again, addresses })
            })
            .collect();
        let kept = Arc::clone(&self.kept);
        let soft = Instant::now() + PATIENCE_FOR_LINES;
        let found = within(PATIENCE, wanted, move |wanted| kept.name(&wanted, soft));
        let found: HashMap<(u64, u64), Arc<Named>> = found.into_iter().flatten().flatten().collect();
        for (probe, named) in probes.iter().zip(&mut named).filter(|(_, named)| named.is_none()) {
            *named = probe.key().and_then(|key| found.get(&key).cloned());
        }
        named
    }

    /// The variable of a module that holds an address of data.
    pub fn variable(&self, space: &AddressSpace, address: u64) -> Option<Variable> {
        let (mapped, module) = space.module_of(address)?;
        let table = self.table(space, module)?;
        let filed = address.wrapping_sub(mapped.bias);
        let hit = table.variable(filed)?;
        Some(Variable {
            module: Arc::clone(&mapped.name),
            name: demangle::plain(hit.name),
            offset: filed - hit.start,
        })
    }

    /// The address of a module's symbol in this process: `_thread_db_pthread_tid` of libc. `None`: no such module
    /// or symbol. `module` is the beginning of the file's name, or of the name that the file gives itself
    /// (`libc.so`).
    pub fn address_of(&self, space: &AddressSpace, module: &str, symbol: &str) -> Option<u64> {
        let mut seen = HashSet::new();
        space.mappings.iter().find_map(|mapped| {
            let found = mapped.module.as_ref().ok()?;
            if !seen.insert(found.id) {
                return None;
            }
            let file = mapped.name.rsplit('/').next().unwrap_or_default();
            let is_it =
                file.starts_with(module) || found.own_name.as_ref().is_some_and(|name| name.starts_with(module));
            let table = is_it.then(|| self.table(space, found))??;
            Some(table.address_of(symbol.as_bytes())?.wrapping_add(mapped.bias))
        })
    }

    fn table(&self, space: &AddressSpace, module: &Arc<Module>) -> Option<Arc<Table>> {
        if let Some(known) = self.kept.table(module.id) {
            return known.ok();
        }
        let again = space.again(module)?;
        let kept = Arc::clone(&self.kept);
        let begun = Instant::now();
        let read = within(PATIENCE, vec![again], move |again| kept.symbols(&again).0);
        match read.into_iter().next()? {
            Ok(table) => table.ok(),
            Err(late) => {
                // Whoever asks for the next variable does not wait again; should the reader come back after
                // all, it puts the table there.
                if begun.elapsed() >= PATIENCE && self.kept.table(module.id).is_none() {
                    self.kept
                        .parts
                        .put((Which::Table, module.id), Part::Table(Err(late)), 0);
                }
                None
            }
        }
    }

    fn perf_map(&self, pid: Pid, space: &AddressSpace) -> Option<Arc<PerfMap>> {
        let folder = space.folder.clone()?;
        let kept = Arc::clone(&self.kept);
        let read = within(PATIENCE, vec![folder], move |folder| {
            let found = perf_map::find(&folder, pid)?;
            if let Some(known) = kept.maps.get(&found.key()) {
                return Some(known);
            }
            let map = Arc::new(perf_map::read(&found)?);
            kept.maps.put(found.key(), Arc::clone(&map), map.bytes());
            Some(map)
        });
        read.into_iter().next()?.ok()?
    }
}

fn function(name: Arc<str>) -> Function {
    Function {
        name,
        file: None,
        line: None,
        inlined: false,
    }
}

impl Kept {
    fn table(&self, id: u64) -> Option<Evidence<Arc<Table>>> {
        match self.parts.get(&(Which::Table, id))? {
            Part::Table(table) => Some(table),
            Part::Lines(_) => None,
        }
    }

    fn lines(&self, id: u64) -> Option<Evidence<Arc<Lines>>> {
        match self.parts.get(&(Which::Lines, id))? {
            Part::Lines(lines) => Some(lines),
            Part::Table(_) => None,
        }
    }

    /// The table of a module, and its lines; read where they are not known.
    fn symbols(&self, again: &Again) -> (Evidence<Arc<Table>>, Option<Arc<Lines>>) {
        let id = again.module.id;
        if let (Some(table), Some(lines)) = (self.table(id), self.lines(id)) {
            return (table, lines.ok());
        }
        let (table, lines) = read(again);
        let (table, lines) = (table.map(Arc::new), lines.map(Arc::new));
        // The table last: should one drive the other out, then that which variables need too stays.
        let bytes = lines.as_ref().map_or(0, |lines| lines.bytes());
        self.parts.put(
            (Which::Lines, id),
            Part::Lines(lines.clone().ok_or(Unknown::NoSymbols)),
            bytes,
        );
        let bytes = table.as_ref().map_or(0, |table| table.bytes());
        self.parts.put((Which::Table, id), Part::Table(table.clone()), bytes);
        (table, lines)
    }

    /// From `soft` on lines are left out.
    fn name(&self, wanted: &Wanted, soft: Instant) -> Vec<((u64, u64), Arc<Named>)> {
        let id = wanted.again.module.id;
        let (table, lines) = self.symbols(&wanted.again);
        let mut texts: HashSet<Arc<str>> = HashSet::new();
        let mut intern = |text: &str| {
            if let Some(known) = texts.get(text) {
                return Arc::clone(known);
            }
            let new: Arc<str> = text.into();
            texts.insert(Arc::clone(&new));
            new
        };
        // The addresses of one function share its name.
        let mut last: Option<(u64, Arc<str>)> = None;
        let mut found = Vec::with_capacity(wanted.addresses.len());
        for address in &wanted.addresses {
            let hit = table.as_ref().ok().and_then(|table| table.function(*address));
            let physical = hit.map(|hit| match &last {
                Some((start, name)) if *start == hit.start => (hit.start, Arc::clone(name)),
                _ => (hit.start, demangle::plain(hit.name)),
            });
            last.clone_from(&physical);
            let is_late = lines.is_some() && Instant::now() > soft;
            let in_time = lines.as_ref().filter(|_| !is_late);
            let functions = in_time.map_or_else(Vec::new, |lines| lines.at(*address, &mut intern));
            let named = Arc::new(named(functions, physical, table.as_ref().err().copied()));
            // The next one who asks shall have the lines too.
            if !is_late {
                self.names.put((id, *address), Arc::clone(&named), named.bytes());
            }
            found.push(((id, *address), named));
        }
        found
    }
}

/// The physical function is called as the symbol table calls it; DWARF has the rest.
fn named(mut functions: Vec<Function>, physical: Option<(u64, Arc<str>)>, why: Option<Unknown>) -> Named {
    let start = physical.as_ref().map(|(start, _)| *start);
    match (functions.last_mut(), physical) {
        (Some(last), Some((_, name))) => last.name = name,
        (None, Some((_, name))) => functions.push(function(name)),
        _ => {}
    }
    // A line without a function's name says nothing that could be shown as one.
    functions.retain(|function| !function.name.is_empty());
    let is_whole = functions.last().is_some_and(|last| !last.inlined);
    Named {
        functions: if is_whole {
            Ok(functions)
        } else {
            Err(why.unwrap_or(Unknown::NoSymbols))
        },
        start,
    }
}

impl Named {
    fn bytes(&self) -> usize {
        let functions = self.functions.iter().flatten();
        // Texts are shared by most: half is nearer to the truth than all.
        functions
            .map(|function| size_of::<Function>() + function.name.len() / 2 + 16)
            .sum::<usize>()
            + size_of::<Named>()
    }
}

/// Symbols and lines of a module, from itself and from the file that it was stripped into.
fn read(again: &Again) -> (Evidence<Table>, Option<Lines>) {
    let Some(bytes) = again.bytes() else {
        return (Err(Unknown::Gone), None);
    };
    let source = bytes.source();
    let layout = match Layout::read(&source) {
        Ok(layout) => layout,
        Err(why) => return (Err(why), None),
    };
    let mut gathered = Gathered::default();
    let is_full = gathered.add_file(&layout, &source);
    let mut lines = Lines::read(&again.module.name, &layout, &source);
    let is_whole = is_full && lines::has_any(&layout);
    let debug_file = (!is_whole).then(|| debug_file::find(again, &layout, &source)).flatten();
    if let Some(file) = debug_file {
        let source = Source::File(&file);
        if let Ok(layout) = Layout::read(&source) {
            if !is_full {
                gathered.add_file(&layout, &source);
            }
            lines = lines.or_else(|| Lines::read(&again.module.name, &layout, &source));
        }
    }
    let table = gathered.table();
    if table.is_empty() {
        return (Err(Unknown::NoSymbols), lines);
    }
    (Ok(table), lines)
}

#[cfg(test)]
mod tests;
