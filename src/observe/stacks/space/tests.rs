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

/// A program that only the kernel's map tells from any other: `most` mappings, one in two readable.
#[test]
fn sixty_thousand_mappings_are_read_in_bounded_time() {
    use std::io::BufRead;
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("many.c"), folder.path().join("many"));
    let text = r#"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void) {
    const long count = 60000;
    char *all = mmap(0, count * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    long made = 0;
    for (long n = 0; n < count; n += 2)
        if (mprotect(all + n * 4096, 4096, PROT_READ) == 0) made += 2;
    printf("%p %ld\n", (void *)all, made);
    fflush(stdout);
    pause();
}
"#;
    std::fs::write(&source, text).unwrap();
    assert!(
        Command::new("cc")
            .arg("-o")
            .arg(&program)
            .arg(&source)
            .status()
            .unwrap()
            .success()
    );
    let mut child = Command::new(&program)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let running = Running(child);
    let (all, made) = line.trim().split_once(' ').unwrap();
    let (all, made): (u64, usize) = (u64::from_str_radix(&all[2..], 16).unwrap(), made.parse().unwrap());
    let modules = ModuleCache::default();
    let begun = std::time::Instant::now();
    let space = AddressSpace::read(&ProcRoot::live(), running.pid(), &modules).unwrap();
    eprintln!("{} mappings: {:?}", space.mappings.len(), begun.elapsed());
    // The kernel's bound may be lower than what was asked.
    assert!(
        made > 30_000 && space.mappings.len() >= made,
        "{made} {}",
        space.mappings.len()
    );
    let page = all + 30_002 * 4096;
    assert_eq!(space.find(page).map(|mapped| mapped.start), Some(page));
    assert!(space.module_of(page).is_none());
    // One text for all that have no name.
    assert!(Arc::ptr_eq(
        &space.find(page).unwrap().name,
        &space.find(page + 4096).unwrap().name
    ));
}

#[test]
fn a_captured_tree_has_mappings_and_no_modules() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("7")).unwrap();
    std::fs::copy("/proc/self/maps", folder.path().join("7/maps")).unwrap();
    let root = ProcRoot::captured(folder.path());
    let space = AddressSpace::read(&root, Pid(7), &ModuleCache::default()).unwrap();
    assert!(space.mappings.iter().all(|mapped| mapped.module.is_err()));
    assert!(
        space
            .mappings
            .iter()
            .any(|mapped| matches!(mapped.module, Err(Unknown::NotCaptured)))
    );
}

#[test]
fn a_process_that_is_not_there_is_gone() {
    let read = AddressSpace::read(&ProcRoot::live(), Pid(0x7fff_fff0), &ModuleCache::default());
    assert_eq!(read.err(), Some(Unknown::Gone));
}

#[test]
fn a_replaced_library_is_read_from_memory_and_its_name_says_so() {
    let space = us();
    let libc = libc::getpid as unsafe extern "C" fn() -> i32 as usize as u64;
    let mapped = space.find(libc).unwrap();
    let real = mapped.module.as_ref().unwrap();
    // A folder without `map_files`, in whose root another file has the library's path.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("its root");
    let beside = root.join(&mapped.name[1..mapped.name.rfind('/').unwrap()]);
    std::fs::create_dir_all(&beside).unwrap();
    std::fs::write(root.join(&mapped.name[1..]), b"another").unwrap();
    std::os::unix::fs::symlink(&root, folder.path().join("root")).unwrap();

    let mut reading = Reading::default();
    maps::read(&ProcRoot::live(), Path::new("/proc/self"), |mapping| {
        reading.add(mapping);
    })
    .unwrap();
    let (found, _) = reading.modules(folder.path(), space.reader, &ModuleCache::default());
    let read = AddressSpace {
        mappings: reading.finish(&found),
        ..space.clone()
    };
    let again = read.find(libc).unwrap();
    let module = again.module.as_ref().unwrap();
    assert!(
        matches!(module.origin, Origin::Memory { replaced: true, .. }),
        "{:?}",
        module.origin
    );
    assert_eq!(*again.name, *format!("{} (replaced)", mapped.name));
    assert_eq!((again.bias, &module.build_id), (mapped.bias, &real.build_id));
}

#[test]
fn a_file_that_is_mapped_twice_has_two_biases() {
    let segment = |offset, address, flags| Segment {
        kind: crate::kernel::elf_file::LOAD,
        flags,
        offset,
        address,
        file_bytes: 0x1800,
        memory_bytes: 0x2000,
    };
    // The page at 0x1000 of the file is in both: as code, and as data one page further on.
    let module = Module {
        segments: vec![segment(0, 0, 5), segment(0x1800, 0x2800, 6)],
        ..module_of(&std::fs::read("/proc/self/exe").unwrap()).unwrap()
    };
    let mapped = |start, executable| Mapped {
        start,
        end: start + 0x1000,
        executable,
        writable: !executable,
        shared: false,
        name: "twice".into(),
        module: Err(Unknown::NoSymbols),
        bias: 0,
    };
    assert_eq!(module.bias(&mapped(0x40_1000, true), 0x1000, None), 0x40_0000);
    assert_eq!(
        module.bias(&mapped(0x40_2000, false), 0x1000, Some(0x40_0000)),
        0x40_0000
    );
    // Elsewhere once more.
    assert_eq!(
        module.bias(&mapped(0x80_2000, false), 0x1000, Some(0x40_0000)),
        0x80_0000
    );
    // Where permissions tell nothing, the mapping before does.
    let module = Module {
        segments: vec![segment(0, 0, 4), segment(0x1800, 0x2800, 6)],
        ..module
    };
    assert_eq!(
        module.bias(&mapped(0x40_2000, false), 0x1000, Some(0x40_0000)),
        0x40_0000
    );
}
