//! Names in real programs, compiled here, so that the truth is known.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::kernel::ProcRoot;
use crate::observe::stacks::ModuleCache;
use crate::observe::stacks::space::tests::Running;

/// Says where its own things are, and waits. `here` is the place behind a call that is inlined.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <unistd.h>
#include <sys/mman.h>
int in_data[4] = {1, 2, 3, 4};
static long in_bss[100000];
static void *volatile here;
static inline __attribute__((always_inline)) void inner(void) {
    here = &&label;
label:
    __asm__ volatile("nop\n nop" ::: "memory");
}
__attribute__((noinline, noclone)) void outer(void) {
    inner();
    __asm__ volatile("");
}
int main(void) {
    outer();
    void *made = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("%p %p %p %p %p\n", (void *)outer, here, (void *)&in_data[1], (void *)&in_bss[50000], made);
    fflush(stdout);
    pause();
    return 0;
}
"#;

struct Program {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Program {
    fn compiled(flags: &[&str]) -> Program {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (folder.path().join("program.c"), folder.path().join("program"));
        fs::write(&source, PROGRAM).unwrap();
        let compiler = Command::new("cc")
            .arg("-o")
            .arg(&path)
            .args(flags)
            .arg(&source)
            .status();
        assert!(compiler.unwrap().success());
        Program { folder, path }
    }

    fn objcopy(&self, arguments: &[&str]) {
        let done = Command::new("objcopy")
            .args(arguments)
            .current_dir(self.folder.path())
            .status();
        assert!(done.unwrap().success(), "{arguments:?}");
    }

    fn start(&self) -> Subject {
        Subject::of(&mut Command::new(&self.path))
    }
}

/// A running program and what it said of itself.
struct Subject {
    running: Running,
    outer: u64,
    here: u64,
    in_data: u64,
    in_bss: u64,
    made: u64,
}

impl Subject {
    fn of(command: &mut Command) -> Subject {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let running = Running(child);
        let words: Vec<u64> = line
            .split_whitespace()
            .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap())
            .collect();
        let [outer, here, in_data, in_bss, made] = words[..] else {
            panic!("{line:?}")
        };
        Subject {
            running,
            outer,
            here,
            in_data,
            in_bss,
            made,
        }
    }

    fn pid(&self) -> Pid {
        self.running.pid()
    }

    fn place(&self, address: u64) -> Place {
        let (space, symbols) = look(self.pid());
        (*symbols.places(self.pid(), &space, &[(address, false)])[0]).clone()
    }

    fn names(&self, address: u64) -> Vec<String> {
        let functions = self.place(address).functions.unwrap_or_default();
        functions.iter().map(|function| function.name.to_string()).collect()
    }
}

fn look(pid: Pid) -> (AddressSpace, Symbols) {
    let modules = ModuleCache::default();
    let space = AddressSpace::read(&ProcRoot::live(), pid, &modules).unwrap();
    (space, Symbols::new())
}

#[test]
fn our_own_functions_have_names_files_and_lines() {
    let here = our_own_functions_have_names_files_and_lines as fn() as usize as u64;
    let pid = Pid(std::process::id());
    let (space, symbols) = look(pid);
    let place = &symbols.places(pid, &space, &[(here, false)])[0];
    let function = place.functions.as_ref().unwrap().last().unwrap();
    assert!(
        function
            .name
            .ends_with("symbols::tests::our_own_functions_have_names_files_and_lines"),
        "{function:?}"
    );
    assert!(
        function
            .file
            .as_ref()
            .unwrap()
            .ends_with("src/observe/stacks/symbols/tests.rs"),
        "{function:?}"
    );
    assert_eq!((place.function_offset, function.inlined), (Some(0), false));
    assert!(function.line.unwrap() > 100 && function.line.unwrap() < line!());
}

#[test]
fn what_was_inlined_comes_before_the_function_it_was_put_into() {
    let subject = Program::compiled(&["-g", "-O1"]).start();
    let place = subject.place(subject.here);
    let functions = place.functions.unwrap();
    assert_eq!(subject.names(subject.here), ["inner", "outer"]);
    assert_eq!(
        functions.iter().map(|function| function.inlined).collect::<Vec<_>>(),
        [true, false]
    );
    assert!(
        functions
            .iter()
            .all(|function| function.file.as_ref().unwrap().ends_with("program.c"))
    );
    // Where the inlined function is called.
    assert_eq!(functions[1].line, Some(14));
    assert_eq!(place.function_offset, Some(subject.here - subject.outer));
}

/// binutils' addr2line is another program with other code.
#[test]
fn functions_and_lines_are_those_that_addr2line_tells() {
    let program = Program::compiled(&["-g", "-O2", "-no-pie"]);
    let subject = program.start();
    let (space, symbols) = look(subject.pid());
    let main = symbols.address_of(&space, "program", "main").unwrap();
    let addresses: Vec<u64> = (subject.outer..subject.outer + 4).chain(main..main + 64).collect();
    let asked: Vec<(u64, bool)> = addresses.iter().map(|address| (*address, false)).collect();
    let places = symbols.places(subject.pid(), &space, &asked);
    for (address, place) in addresses.iter().zip(places) {
        let theirs = Command::new("addr2line")
            .args(["-f", "-i", "-e"])
            .arg(&program.path)
            .arg(format!("{address:x}"))
            .output()
            .unwrap();
        let theirs = String::from_utf8(theirs.stdout).unwrap();
        let mut ours = String::new();
        for function in place.functions.as_ref().unwrap() {
            let line = function.line.map_or("?".to_owned(), |line| line.to_string());
            let file = function.file.as_deref().unwrap();
            ours += &[&*function.name, "\n", file, ":", &line, "\n"].concat();
        }
        // It adds a note where one line has several pieces of code.
        let theirs: String = theirs
            .lines()
            .map(|line| line.split(" (discriminator").next().unwrap().to_owned() + "\n")
            .collect();
        assert_eq!(ours, theirs, "{address:x}");
    }
}

#[test]
fn a_place_behind_a_call_is_looked_up_one_byte_before() {
    let subject = Program::compiled(&["-g", "-O1"]).start();
    let (space, symbols) = look(subject.pid());
    // As if the function before had ended in a call that never returns.
    let asked = [(subject.outer, false), (subject.outer, true)];
    let places = symbols.places(subject.pid(), &space, &asked);
    assert_eq!(places[0].function().map(|name| &**name), Some("outer"));
    assert_ne!(places[1].function().map(|name| &**name), Some("outer"));
    assert_eq!(places[0].address, places[1].address);
}

#[test]
fn compressed_debug_sections_are_read() {
    for how in ["zlib", "zstd"] {
        let program = Program::compiled(&["-g", "-O1"]);
        let done = Command::new("objcopy")
            .arg(format!("--compress-debug-sections={how}"))
            .arg(&program.path)
            .output()
            .unwrap();
        // An older objcopy knows no zstd.
        if done.status.success() {
            let subject = program.start();
            assert_eq!(subject.names(subject.here), ["inner", "outer"], "{how}");
        }
    }
}

#[test]
fn a_stripped_program_has_its_names_from_the_file_it_links_to() {
    for place in ["program.debug", ".debug/program.debug"] {
        let program = Program::compiled(&["-g", "-O1", "-Wl,--build-id=none"]);
        fs::create_dir(program.folder.path().join(".debug")).unwrap();
        program.objcopy(&["--only-keep-debug", "program", place]);
        program.objcopy(&["--strip-all", &format!("--add-gnu-debuglink={place}"), "program"]);
        let subject = program.start();
        assert_eq!(subject.names(subject.here), ["inner", "outer"]);
        // Another file of that name is not believed.
        let debug = program.folder.path().join(place);
        let mut bytes = fs::read(&debug).unwrap();
        bytes.push(0);
        fs::write(&debug, bytes).unwrap();
        assert_eq!(subject.place(subject.here).functions, Err(Unknown::NoSymbols));
    }
}

#[test]
fn a_stripped_program_without_a_debug_file_says_that_it_has_no_names() {
    let program = Program::compiled(&["-s"]);
    let subject = program.start();
    let place = subject.place(subject.outer);
    assert_eq!(place.functions, Err(Unknown::NoSymbols));
    assert!(place.module.unwrap().ends_with("/program"));
    assert!(place.module_address > 0);
}

#[test]
fn a_deleted_program_is_read_all_the_same() {
    let program = Program::compiled(&["-g", "-O1"]);
    let subject = program.start();
    fs::remove_file(&program.path).unwrap();
    let place = subject.place(subject.here);
    assert!(place.module.as_ref().unwrap().ends_with("/program (deleted)"));
    assert_eq!(subject.names(subject.here), ["inner", "outer"]);
}

#[test]
fn a_replaced_program_is_not_taken_for_the_one_that_runs() {
    let program = Program::compiled(&["-g", "-O1"]);
    let subject = program.start();
    let other = program.folder.path().join("other");
    fs::copy("/bin/sh", &other).unwrap();
    fs::rename(&other, &program.path).unwrap();
    assert_eq!(subject.names(subject.here), ["inner", "outer"]);
}

#[test]
fn a_program_in_another_mount_namespace_is_read_there() {
    let program = Program::compiled(&["-g", "-O1"]);
    let hidden = program.folder.path().join("hidden");
    fs::create_dir(&hidden).unwrap();
    let script = format!(
        "mount -t tmpfs none {0} && cp {1} {0}/ && exec {0}/program",
        hidden.display(),
        program.path.display()
    );
    // Needs CAP_SYS_ADMIN.
    let may = Command::new("unshare").args(["-m", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        return;
    }
    let subject = Subject::of(Command::new("unshare").args(["-m", "sh", "-c", &script]));
    assert!(!hidden.join("program").exists());
    assert_eq!(subject.names(subject.here), ["inner", "outer"]);
}

#[test]
fn a_jump_to_another_module_is_named_after_its_aim() {
    for flags in [&["-Wl,-z,lazy"], &["-Wl,-z,now"], &["-fcf-protection=full"], &["-s"]] {
        let subject = Program::compiled(flags).start();
        let (space, symbols) = look(subject.pid());
        let mapped = space.find(subject.outer).unwrap();
        let (start, end) = (mapped.start, mapped.end);
        let asked: Vec<(u64, bool)> = (start..end).step_by(16).map(|address| (address, false)).collect();
        let places = symbols.places(subject.pid(), &space, &asked);
        let is_stub = |place: &&Arc<Place>| place.function().is_some_and(|name| &**name == "printf@plt");
        assert_eq!(places.iter().filter(is_stub).count(), 1, "{flags:?}");
    }
}

#[test]
fn variables_of_data_and_of_zeros_have_names_and_offsets() {
    let subject = Program::compiled(&["-g"]).start();
    let (space, symbols) = look(subject.pid());
    let variable = |address| {
        symbols
            .variable(&space, address)
            .map(|found| (found.name.to_string(), found.offset))
    };
    assert_eq!(variable(subject.in_data), Some(("in_data".to_owned(), 4)));
    assert_eq!(variable(subject.in_bss), Some(("in_bss".to_owned(), 400_000)));
    assert_eq!(variable(subject.outer), None);
    assert_eq!(variable(subject.made), None);
    assert_eq!(variable(8), None);
}

#[test]
fn a_symbol_of_libc_is_found_by_the_name_that_libc_gives_itself() {
    let pid = Pid(std::process::id());
    let (space, symbols) = look(pid);
    let getpid = libc::getpid as unsafe extern "C" fn() -> i32 as usize as u64;
    assert_eq!(symbols.address_of(&space, "libc.so", "getpid"), Some(getpid));
    assert_eq!(symbols.address_of(&space, "libc.so", "no_such_thing"), None);
    assert_eq!(symbols.address_of(&space, "libnone.so", "getpid"), None);
    let tid = symbols.address_of(&space, "libc.so", "_thread_db_pthread_tid").unwrap();
    let mut word = [0; 12];
    assert_eq!(crate::kernel::process_vm::read(pid, tid, &mut word).unwrap(), 12);
    // Its bits, how many, and its offset in `struct pthread`.
    let word = |at: usize| u32::from_le_bytes(*word[at..].first_chunk().unwrap());
    assert_eq!((word(0), word(4)), (32, 1));
    assert!(word(8) > 0 && word(8) < 4096);
}

#[test]
fn the_vdso_has_names() {
    let pid = Pid(std::process::id());
    let (space, symbols) = look(pid);
    let address = symbols.address_of(&space, "[vdso]", "__vdso_clock_gettime").unwrap();
    let place = &symbols.places(pid, &space, &[(address + 1, true)])[0];
    assert!(place.function().unwrap().contains("clock_gettime"));
    assert_eq!(place.module.as_deref(), Some("[vdso]"));
}

/// The map that a program would write for itself; gone with the test.
struct Planted(PathBuf);

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn code_made_at_run_time_is_named_by_a_map_that_can_be_trusted() {
    let subject = Program::compiled(&[]).start();
    let path = Planted(PathBuf::from(format!("/tmp/perf-{}.map", subject.running.0.id())));
    let text = format!("{:x} 10 made here\n", subject.made);
    let _ = fs::remove_file(&path.0);
    assert_eq!(subject.place(subject.made).functions, Err(Unknown::NoSymbols));

    fs::write(&path.0, &text).unwrap();
    let place = subject.place(subject.made + 4);
    assert_eq!(place.functions.unwrap()[0].name.as_ref(), "made here");
    assert_eq!((place.module, place.function_offset), (None, Some(4)));

    // Under another name too: somebody else's file, perhaps.
    let elsewhere = Planted(path.0.with_extension("elsewhere"));
    fs::rename(&path.0, &elsewhere.0).unwrap();
    fs::hard_link(&elsewhere.0, &path.0).unwrap();
    assert_eq!(subject.place(subject.made).functions, Err(Unknown::NoSymbols));
    fs::remove_file(&path.0).unwrap();

    std::os::unix::fs::symlink(&elsewhere.0, &path.0).unwrap();
    assert_eq!(subject.place(subject.made).functions, Err(Unknown::NoSymbols));
    fs::remove_file(&path.0).unwrap();

    // Opening it for reading would hang for ever.
    assert!(Command::new("mkfifo").arg(&path.0).status().unwrap().success());
    assert_eq!(subject.place(subject.made).functions, Err(Unknown::NoSymbols));
    fs::remove_file(&path.0).unwrap();

    // A stranger's, where we may give it away.
    fs::write(&path.0, &text).unwrap();
    if std::os::unix::fs::chown(&path.0, Some(65_534), None).is_ok() && rustix::process::getuid().is_root() {
        assert_eq!(subject.place(subject.made).functions, Err(Unknown::NoSymbols));
    }
}

#[test]
fn names_come_without_lines_when_time_is_short() {
    let subject = Program::compiled(&["-g", "-O1"]).start();
    let (space, symbols) = look(subject.pid());
    let mapped = space.find(subject.here).unwrap();
    let wanted = Wanted {
        again: space.again(mapped.module.as_ref().unwrap()).unwrap(),
        addresses: vec![subject.here - mapped.bias],
    };
    let names = |soft| {
        let found = symbols.kept.name(&wanted, soft);
        let functions = found[0].1.functions.clone().unwrap();
        functions
            .iter()
            .map(|function| (function.name.to_string(), function.line.is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(Instant::now()), [("outer".to_owned(), false)]);
    // And that was not kept.
    let places = symbols.places(subject.pid(), &space, &[(subject.here, false)]);
    assert_eq!(places[0].functions.as_ref().unwrap().len(), 2);
    let in_time = Instant::now() + Duration::from_secs(60);
    assert_eq!(names(in_time), [("inner".to_owned(), true), ("outer".to_owned(), true)]);
}

#[test]
fn a_second_look_reads_no_file() {
    let program = Program::compiled(&["-g", "-O1"]);
    let subject = program.start();
    let (space, symbols) = look(subject.pid());
    let asked = [(subject.here, false), (subject.outer, false)];
    let first = symbols.places(subject.pid(), &space, &asked);
    // Were the program asked again there would be nothing to read.
    drop(subject);
    let warm = symbols.places(Pid(1), &space, &asked);
    assert_eq!(first, warm);
}

/// Everything that is ever read of a file, from bytes.
fn read_all(bytes: &[u8]) {
    let source = Source::Bytes(bytes);
    let Ok(layout) = Layout::read(&source) else { return };
    let _ = crate::observe::stacks::space::tests::module_of(bytes);
    let mut gathered = Gathered::default();
    gathered.add_file(&layout, &source);
    let table = gathered.table();
    let lines = Lines::read("mutated", &layout, &source);
    for address in (0..0x6000).step_by(0x35) {
        let _ = (table.function(address), table.variable(address));
        let _ = lines.as_ref().map(|lines| lines.at(address, &mut |text| text.into()));
    }
    let _ = table.address_of(b"outer");
}

/// Kept for all cases: compiling takes longer than reading.
fn real_file() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| fs::read(&Program::compiled(&["-g", "-O1"]).path).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_file_with_any_bytes_changed_is_read_without_harm(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..40),
        cut: Option<proptest::sample::Index>,
        head in proptest::collection::vec((0usize..64, any::<u8>()), 0..4),
    ) {
        let mut bytes = real_file().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (at, byte) in head {
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_all(&bytes);
    }

    #[test]
    fn tables_with_any_words_changed_are_read_without_harm(
        // Where the tables of segments and sections are.
        changes in proptest::collection::vec((0usize..2600, any::<u64>()), 1..6),
        in_front: bool,
    ) {
        let mut bytes = real_file().to_vec();
        for (at, word) in changes {
            let at = if in_front { at } else { bytes.len() - at - 8 };
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        read_all(&bytes);
    }
}

#[test]
fn a_script_that_is_mapped_as_code_is_no_module() {
    assert!(matches!(
        Layout::read(&Source::Bytes(b"#!/bin/sh\nexit 0\n")),
        Err(Unknown::NoSymbols)
    ));
    let mut other = real_file().to_vec();
    other[4] = 1;
    assert!(matches!(
        Layout::read(&Source::Bytes(&other)),
        Err(Unknown::ForeignCode)
    ));
    let mut other = real_file().to_vec();
    other[18] = 0xf3;
    assert!(matches!(
        Layout::read(&Source::Bytes(&other)),
        Err(Unknown::ForeignCode)
    ));
}

#[test]
fn warm_places_of_a_thousand_addresses_take_little() {
    let pid = Pid(std::process::id());
    let (space, symbols) = look(pid);
    let here = warm_places_of_a_thousand_addresses_take_little as fn() as usize as u64;
    let asked: Vec<(u64, bool)> = (0..1000).map(|n| (here + n * 16, n % 2 == 0)).collect();
    let begun = Instant::now();
    let cold = symbols.places(pid, &space, &asked);
    let between = Instant::now();
    let warm = symbols.places(pid, &space, &asked);
    let ended = Instant::now();
    eprintln!("1000 places: cold {:?}, warm {:?}", between - begun, ended - between);
    assert_eq!(cold, warm);
    assert!(ended - between < between - begun);
}

#[test]
fn programs_are_not_kept_open() {
    let program = Program::compiled(&["-g", "-O1"]);
    let subject = program.start();
    let (space, symbols) = look(subject.pid());
    let places = symbols.places(subject.pid(), &space, &[(subject.here, false)]);
    assert!(places[0].functions.is_ok() && symbols.variable(&space, subject.in_data).is_some());
    let ours = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open: Vec<PathBuf> = ours.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
    assert!(!open.contains(&program.path), "{open:?}");
}
