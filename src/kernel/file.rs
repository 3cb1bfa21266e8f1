//! Opens and reads the small files of `/proc` into a buffer that is used again and again.
//!
//! A directory that is kept open stays bound to its process: when the process has ended, everything
//! read through it answers `ESRCH`, even after its pid was given to another. So nothing that is read
//! through one directory can be a mix of two processes. The same holds for the kept file of a thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};

/// Enough for one reading of any file about a thread; grows when a longer one is met.
const FIRST_SIZE: usize = 4096;
/// More than any single-record file of `/proc` holds; what is longer is not one.
const MOST: usize = 1 << 20;

/// The buffer that readings go through.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer(vec![0; FIRST_SIZE])
    }
}

/// Opens a directory to read through it. `None`: there is no such process or thread.
pub fn open_dir(path: &Path) -> io::Result<Option<OwnedFd>> {
    ended(openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ))
}

/// Opens a directory within a kept one.
pub fn open_dir_at(dir: impl AsFd, name: &str) -> io::Result<Option<OwnedFd>> {
    ended(openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ))
}

/// A directory within a kept one, to open files through and for nothing else: cheaper than walking
/// the same path for each of them, and bound to the one thread it was opened for.
pub fn open_path_at(dir: impl AsFd, name: &str) -> io::Result<Option<OwnedFd>> {
    ended(openat(
        dir,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ))
}

/// Opens a file within a kept directory. `None`: what the directory is about has ended, or the
/// file doesn't exist here.
pub fn open(dir: impl AsFd, name: &str) -> io::Result<Option<OwnedFd>> {
    ended(openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// The whole of a kept file, from its beginning: the kernel writes its text anew.
///
/// All files read here are one record: a reading shorter than the buffer is the whole of it.
pub fn reread(file: impl AsFd, buffer: &mut Buffer) -> io::Result<Option<&[u8]>> {
    let file = file.as_fd();
    loop {
        let length = match pread(file, buffer.0.as_mut_slice(), 0) {
            Ok(length) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return ended(Err(error)),
        };
        if length < buffer.0.len() || buffer.0.len() >= MOST {
            return Ok(Some(&buffer.0[..length]));
        }
        let longer = buffer.0.len() * 4;
        buffer.0.resize(longer, 0);
    }
}

/// Opens, reads and closes.
pub fn read_at<'b>(dir: impl AsFd, name: &str, buffer: &'b mut Buffer) -> io::Result<Option<&'b [u8]>> {
    match open(dir, name)? {
        Some(file) => reread(file, buffer),
        None => Ok(None),
    }
}

/// ENOENT and ESRCH both mean that it has ended, or was never there.
fn ended<T>(outcome: Result<T, Errno>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_the_buffer_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let long = vec![b'x'; FIRST_SIZE * 3 + 7];
        std::fs::write(folder.path().join("long"), &long).unwrap();
        let dir = open_dir(folder.path()).unwrap().unwrap();
        let mut buffer = Buffer::default();
        assert_eq!(read_at(&dir, "long", &mut buffer).unwrap().unwrap(), long);
    }

    #[test]
    fn what_is_not_there_is_news_and_not_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open_dir(&folder.path().join("gone")).unwrap().is_none());
        let dir = open_dir(folder.path()).unwrap().unwrap();
        assert!(read_at(&dir, "gone", &mut Buffer::default()).unwrap().is_none());
    }

    #[test]
    fn a_kept_directory_of_an_ended_process_answers_that_it_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let path = format!("/proc/{}", child.id());
        let dir = open_dir(Path::new(&path)).unwrap().unwrap();
        let stat = open(&dir, "stat").unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut buffer = Buffer::default();
        assert!(read_at(&dir, "stat", &mut buffer).unwrap().is_none());
        assert!(reread(&stat, &mut buffer).unwrap().is_none());
    }
}
