//! Spaces of real processes, whose truth is known.

use std::process::{Child, Command};

use super::*;

/// Ends its process with the test.
pub(in crate::observe::stacks) struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub fn pid(&self) -> Pid {
        Pid(self.0.id())
    }
}

fn us() -> AddressSpace {
    let pid = Pid(std::process::id());
    AddressSpace::read(&ProcRoot::live(), pid, &ModuleCache::default()).unwrap()
}

#[test]
fn our_own_program_and_libc_have_unwind_information() {
    let space = us();
    let here = our_own_program_and_libc_have_unwind_information as fn() as usize as u64;
    for address in [here, libc::getpid as unsafe extern "C" fn() -> i32 as usize as u64] {
        let mapped = space.find(address).unwrap();
        let module = mapped.module.as_ref().unwrap();
        assert!(mapped.executable && matches!(module.origin, Origin::File(_)));
        let filed = address - mapped.bias;
        let (text, end) = module.text.unwrap();
        assert!((text..end).contains(&filed), "{filed:x} in {text:x}..{end:x}");
        let frames = module.eh_frame.as_ref().unwrap();
        let header = module.eh_frame_hdr.as_ref().unwrap();
        assert_eq!(
            crate::kernel::elf_file::eh_frame_address(&header.bytes, header.start),
            Some(frames.start)
        );
        assert!(module.got.is_some());
    }
}

#[test]
fn the_vdso_is_read_from_memory() {
    let space = us();
    let vdso = space.mappings.iter().find(|mapped| &*mapped.name == "[vdso]").unwrap();
    let module = vdso.module.as_ref().unwrap();
    assert_eq!((module.origin, vdso.bias), (Origin::Vdso, vdso.start));
    assert!(module.eh_frame.is_some() && module.own_name.as_deref() == Some("linux-vdso.so.1"));
}

#[test]
fn a_second_reading_gives_the_same_modules() {
    let modules = ModuleCache::default();
    let pid = Pid(std::process::id());
    let ids = || {
        let space = AddressSpace::read(&ProcRoot::live(), pid, &modules).unwrap();
        let ids = space
            .mappings
            .iter()
            .filter_map(|mapped| Some(mapped.module.as_ref().ok()?.id));
        ids.collect::<std::collections::BTreeSet<u64>>()
    };
    let first = ids();
    assert!(first.len() >= 3, "program, libc and loader at least");
    assert_eq!(first, ids());
}

/// A module from the bytes of a whole file.
pub(in crate::observe::stacks) fn module_of(bytes: &[u8]) -> Evidence<Module> {
    elf::module(1, "test".into(), Origin::Vdso, &Source::Bytes(bytes))
}

#[test]
fn what_is_read_from_memory_is_what_the_file_holds() {
    let space = us();
    let here = what_is_read_from_memory_is_what_the_file_holds as fn() as usize as u64;
    let libc = libc::getpid as unsafe extern "C" fn() -> i32 as usize as u64;
    for address in [here, libc] {
        let mapped = space.find(address).unwrap();
        let filed = mapped.module.as_ref().unwrap();
        let first = space.mappings.iter().find(|first| first.name == mapped.name).unwrap();
        let source = elf::in_memory(space.reader, first.start).unwrap();
        let Source::Memory { bias, .. } = source else { panic!() };
        assert_eq!(bias, mapped.bias);
        let origin = Origin::Memory {
            base: first.start,
            replaced: true,
        };
        let loaded = elf::module(2, "loaded".into(), origin, &source).unwrap();
        assert_eq!(loaded.build_id, filed.build_id);
        assert_eq!((loaded.extent, &loaded.own_name), (filed.extent, &filed.own_name));
        let section =
            |section: &Option<Section>| section.as_ref().map(|section| (section.start, section.bytes.clone()));
        assert!(section(&loaded.eh_frame) == section(&filed.eh_frame) && loaded.eh_frame.is_some());
        assert!(section(&loaded.eh_frame_hdr) == section(&filed.eh_frame_hdr));
    }
}
