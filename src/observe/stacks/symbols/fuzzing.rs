//! The doors by which the fuzzer hands ELF files, DWARF and perf maps to those who look for names.

use std::sync::Arc;

use super::lines::Lines;
use super::perf_map::PerfMap;
use super::table::Gathered;
use super::{Layout, Source, demangle};

/// A whole file: its symbol tables, and lines and inlined functions at places all over it.
pub(in crate::observe) fn file(bytes: &[u8]) {
    let source = Source::Bytes(bytes);
    let Ok(layout) = Layout::read(&source) else { return };
    let mut gathered = Gathered::default();
    gathered.add_file(&layout, &source);
    let table = gathered.table();
    let lines = Lines::read("fuzzed", &layout, &source);
    let starts: Vec<u64> = layout.loaded().map(|segment| segment.address).take(4).collect();
    for start in starts {
        for step in [0, 1, 0x40, 0x123, 0x1000, 0x1150, u64::MAX] {
            let address = start.wrapping_add(step);
            if let Some(hit) = table.function(address) {
                assert!(hit.start <= address);
                let _ = demangle::plain(hit.name);
            }
            let _ = table.variable(address);
            if let Some(lines) = &lines {
                let _ = lines.at(address, &mut |text| Arc::from(text));
            }
        }
    }
    let _ = table.address_of(b"_thread_db_pthread_tid");
}

pub(in crate::observe) fn perf_map(bytes: &[u8]) {
    let map = PerfMap::parse(bytes.to_vec());
    for address in [0, 1, 0x1000, 0x7f00_0000_0000, u64::MAX] {
        if let Some((_, start)) = map.at(address) {
            assert!(start <= address);
        }
    }
}

pub(in crate::observe) fn name(bytes: &[u8]) {
    let _ = demangle::plain(bytes);
}
