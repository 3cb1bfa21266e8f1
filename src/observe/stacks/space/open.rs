//! Opens the files that a process has mapped: those very files, and never anything else.
//!
//! A process may have mapped a device, and a path of its may lead to a FIFO by now: opening either for
//! reading does something. So each is first opened for nothing (`O_PATH`), which is harmless, is then
//! seen to be a regular file, and only then opened again through `/proc/self/fd` for reading: the same
//! file, whatever happens to the path meanwhile.
//!
//! The ways to a file, best first: `map_files`, which is the mapped file itself, deleted or not and in
//! whatever mount namespace (needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN); `exe`, for the main program;
//! and the path, walked within the process' own root so that no link leads out of it. The file at
//! the path may be another by now: it counts only when its device and inode are the mapping's.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat, fstat, major, minor, open, openat, openat2};
use rustix::io::Errno;

use crate::kernel::maps::Mapping;

/// Which file it is, and whether it has changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::observe) struct FileKey {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl FileKey {
    fn of(stat: &Stat) -> FileKey {
        FileKey {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec as u64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as u64),
        }
    }
}

/// A regular file, not yet open for reading.
#[derive(Debug)]
pub(in crate::observe::stacks) struct Found {
    path_only: OwnedFd,
    stat: Stat,
}

/// A file that is open for reading. Its length is that of the moment when it was opened: reads beyond
/// a new end are short.
#[derive(Debug)]
pub(in crate::observe::stacks) struct Opened {
    file: File,
    bytes: u64,
}

impl Found {
    fn new(path_only: OwnedFd) -> Option<Found> {
        let stat = fstat(&path_only).ok()?;
        let is_regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        is_regular.then_some(Found { path_only, stat })
    }

    pub fn key(&self) -> FileKey {
        FileKey::of(&self.stat)
    }

    pub fn owner(&self) -> u32 {
        self.stat.st_uid
    }

    pub fn links(&self) -> u64 {
        self.stat.st_nlink as u64
    }

    pub fn bytes(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    pub fn open(&self) -> io::Result<Opened> {
        let itself = format!("/proc/self/fd/{}", self.path_only.as_fd().as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open(itself, flags, Mode::empty())?;
        Ok(Opened {
            file: file.into(),
            bytes: self.bytes(),
        })
    }

    fn is(&self, identity: &Identity) -> bool {
        let device = self.stat.st_dev;
        self.stat.st_ino as u64 == identity.inode && (major(device), minor(device)) == identity.device
    }
}

impl Opened {
    /// The bytes from `offset` on, all of them or nothing. No more than `most`, whatever the file says.
    pub fn read(&self, offset: u64, bytes: u64, most: u64) -> Option<Vec<u8>> {
        // Before room is made for it: a small file may speak of terabytes.
        if bytes > most || offset.checked_add(bytes)? > self.bytes {
            return None;
        }
        let mut read = vec![0; usize::try_from(bytes).ok()?];
        self.file.read_exact_at(&mut read, offset).ok()?;
        Some(read)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What `maps` says of a mapped file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::observe::stacks) struct Identity {
    pub device: (u32, u32),
    pub inode: u64,
    /// Without what the kernel put behind it.
    pub path: Vec<u8>,
    pub is_deleted: bool,
}

impl Identity {
    pub fn of(mapping: &Mapping<'_>) -> Identity {
        let deleted = mapping.name.strip_suffix(b" (deleted)");
        Identity {
            device: mapping.device,
            inode: mapping.inode,
            path: unescaped(deleted.unwrap_or(mapping.name)),
            is_deleted: deleted.is_some(),
        }
    }
}

/// The kernel prints a newline as `\012` and nothing else.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(after) => {
                plain.push(b'\n');
                rest = after;
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// A file that was found, and whether it is surely the one that is mapped.
#[derive(Debug)]
pub(in crate::observe::stacks) enum Way {
    Surely(Found),
    /// Some file systems give `maps` another device than `stat` (btrfs, overlays): the inode agrees, and
    /// what is in memory must decide.
    Perhaps(Found),
    /// There is another file at its path now, or none.
    Replaced,
    /// It could not be opened.
    Unopened,
}

const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// The file mapped from `start` to `end` by the process of this folder of `/proc`.
pub(in crate::observe::stacks) fn mapped(folder: &Path, start: u64, end: u64, identity: &Identity) -> Way {
    let link = folder.join("map_files").join(format!("{start:x}-{end:x}"));
    if let Ok(itself) = openat(CWD, &link, PATH_ONLY, Mode::empty()) {
        // The link is the mapping: nothing is left to compare.
        return Found::new(itself).map_or(Way::Unopened, Way::Surely);
    }
    if let Ok(program) = openat(CWD, folder.join("exe"), PATH_ONLY, Mode::empty())
        && let Some(program) = Found::new(program)
        && program.is(identity)
    {
        return Way::Surely(program);
    }
    if identity.is_deleted || !identity.path.starts_with(b"/") {
        return Way::Replaced;
    }
    match within_root(folder, &identity.path) {
        Ok(found) => match Found::new(found) {
            Some(found) if found.is(identity) => Way::Surely(found),
            Some(found) if found.stat.st_ino as u64 == identity.inode => Way::Perhaps(found),
            Some(_) | None => Way::Replaced,
        },
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Way::Replaced,
        Err(_) => Way::Unopened,
    }
}

/// A regular file at a path as a process sees it; links are followed within its root, except at the end
/// where `last_link` is false.
pub(in crate::observe::stacks) fn at(folder: &Path, path: &[u8], follow: Follow) -> Option<Found> {
    let root = root_of(folder).ok()?;
    let resolve = match follow {
        Follow::WithinRoot => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        Follow::Nothing => ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
    };
    let flags = match follow {
        Follow::WithinRoot => PATH_ONLY,
        Follow::Nothing => PATH_ONLY | OFlags::NOFOLLOW,
    };
    Found::new(
        openat2(
            root,
            Path::new(std::ffi::OsStr::from_bytes(path)),
            flags,
            Mode::empty(),
            resolve,
        )
        .ok()?,
    )
}

/// Which links on a path are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::stacks) enum Follow {
    WithinRoot,
    Nothing,
}

fn within_root(folder: &Path, path: &[u8]) -> Result<OwnedFd, Errno> {
    let root = root_of(folder)?;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, PATH_ONLY, Mode::empty(), resolve)
}

fn root_of(folder: &Path) -> Result<OwnedFd, Errno> {
    let root: PathBuf = folder.join("root");
    openat(CWD, root, PATH_ONLY | OFlags::DIRECTORY, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// A process' folder without `map_files` and `exe`: what is left to those who may not have them.
    fn process() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("its root");
        fs::create_dir_all(root.join("bin")).unwrap();
        symlink(&root, folder.path().join("root")).unwrap();
        (folder, root)
    }

    fn identity(file: &Path, path: &[u8]) -> Identity {
        let data = fs::metadata(file).unwrap();
        Identity {
            device: (major(data.dev()), minor(data.dev())),
            inode: data.ino(),
            path: path.to_vec(),
            is_deleted: false,
        }
    }

    #[test]
    fn a_path_is_walked_within_the_process_own_root() {
        let (folder, root) = process();
        let program = root.join("bin/program");
        fs::write(&program, b"its own").unwrap();
        // As the process sees it, this leads to its own root.
        symlink("/bin/program", root.join("bin/link")).unwrap();
        let known = identity(&program, b"/bin/link");
        let Way::Surely(found) = mapped(folder.path(), 0x1000, 0x2000, &known) else {
            panic!()
        };
        assert_eq!(found.open().unwrap().read(0, 7, 7).unwrap(), b"its own");
    }

    #[test]
    fn no_link_leads_out_of_that_root() {
        let (folder, root) = process();
        let secret = folder.path().join("secret");
        fs::write(&secret, b"ours").unwrap();
        symlink(&secret, root.join("bin/absolute")).unwrap();
        symlink("../../secret", root.join("bin/upwards")).unwrap();
        for path in [b"/bin/absolute".as_slice(), b"/bin/upwards", b"/../secret"] {
            let way = mapped(folder.path(), 0x1000, 0x2000, &identity(&secret, path));
            assert!(matches!(way, Way::Replaced), "{way:?}");
        }
    }

    #[test]
    fn another_file_at_that_path_is_not_taken_for_it() {
        let (folder, root) = process();
        let program = root.join("bin/program");
        fs::write(&program, b"old").unwrap();
        let mut known = identity(&program, b"/bin/program");
        let other = root.join("other");
        fs::write(&other, b"new").unwrap();
        fs::rename(&other, &program).unwrap();
        assert!(matches!(mapped(folder.path(), 0x1000, 0x2000, &known), Way::Replaced));
        fs::remove_file(&program).unwrap();
        assert!(matches!(mapped(folder.path(), 0x1000, 0x2000, &known), Way::Replaced));
        // Some file systems tell two devices of one file: memory must decide.
        fs::write(&program, b"newer").unwrap();
        known = identity(&program, b"/bin/program");
        known.device.1 += 1;
        assert!(matches!(mapped(folder.path(), 0x1000, 0x2000, &known), Way::Perhaps(_)));
    }

    #[test]
    fn what_is_no_regular_file_is_never_opened() {
        let (folder, root) = process();
        let fifo = root.join("bin/fifo");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        for (file, path) in [(fifo.as_path(), b"/bin/fifo".as_slice()), (&root.join("bin"), b"/bin")] {
            let way = mapped(folder.path(), 0x1000, 0x2000, &identity(file, path));
            assert!(matches!(way, Way::Replaced), "{way:?}");
            assert!(at(folder.path(), path, Follow::WithinRoot).is_none());
        }
        // A device, on our own path.
        assert!(at(Path::new("/proc/self"), b"/dev/null", Follow::WithinRoot).is_none());
    }

    #[test]
    fn a_file_that_was_cut_meanwhile_gives_nothing() {
        let (folder, root) = process();
        let program = root.join("bin/program");
        fs::write(&program, [7; 100]).unwrap();
        let file = at(folder.path(), b"/bin/program", Follow::Nothing)
            .unwrap()
            .open()
            .unwrap();
        assert_eq!(file.read(90, 10, 10), Some(vec![7; 10]));
        assert_eq!(file.read(90, 10, 9), None, "more than asked for");
        assert_eq!((file.read(90, 11, 100), file.read(u64::MAX, 2, 100)), (None, None));
        fs::File::options()
            .write(true)
            .open(&program)
            .unwrap()
            .set_len(50)
            .unwrap();
        assert_eq!(file.read(90, 10, 10), None);
    }

    #[test]
    fn a_newline_in_a_path_is_one_again() {
        assert_eq!(unescaped(b"/tmp/two\\012lines\\01"), b"/tmp/two\nlines\\01");
    }
}
