//! `/proc/<pid>/pagemap`: page by page, what is in memory.
//!
//! Source: Documentation/admin-guide/mm/pagemap.rst. Eight bytes a page, in the machine's byte
//! order; bit 63 says that the page is present. Frame numbers are hidden from unprivileged
//! readers, and we do not look at them. Needs ptrace access.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const PRESENT: u64 = 1 << 63;

/// Entries fetched with one call.
const CHUNK: usize = 512;

/// The page map of one process, held open while its ranges are asked for.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    page_bytes: u64,
}

impl Pagemap {
    /// Opens the one in `folder` (a process' folder or a thread's).
    pub fn open(folder: &Path) -> io::Result<Pagemap> {
        Ok(Pagemap {
            file: File::open(folder.join("pagemap"))?,
            page_bytes: rustix::param::page_size() as u64,
        })
    }

    /// How many bytes of this range are in memory, in whole pages.
    pub fn resident_bytes(&self, start: u64, end: u64) -> io::Result<u64> {
        let (mut page, last) = (start / self.page_bytes, end.div_ceil(self.page_bytes));
        let mut present = 0;
        let mut entries = [0; CHUNK * 8];
        while page < last {
            let wanted = CHUNK.min((last - page) as usize) * 8;
            let length = self.file.read_at(&mut entries[..wanted], page * 8)? / 8 * 8;
            // Past the end of what a process can map.
            if length == 0 {
                break;
            }
            present += count_present(&entries[..length]);
            page += length as u64 / 8;
        }
        Ok(present * self.page_bytes)
    }
}

fn count_present(entries: &[u8]) -> u64 {
    let (entries, _) = entries.as_chunks::<8>();
    entries
        .iter()
        .filter(|entry| u64::from_ne_bytes(**entry) & PRESENT != 0)
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_touched_pages_are_counted() {
        let page = rustix::param::page_size();
        let room = 64 * page;
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing of ours.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), room, 3, anonymous, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        // SAFETY: the mapping above is ours alone; without this, one touch could fill 2 MiB.
        assert_eq!(unsafe { libc::madvise(at, room, libc::MADV_NOHUGEPAGE) }, 0);
        for touched in [0, 3, 63] {
            // SAFETY: within the mapping above.
            let byte = unsafe { at.cast::<u8>().add(touched * page) };
            // SAFETY: the mapping is writable and nobody else's.
            unsafe { byte.write_volatile(1) };
        }
        let map = Pagemap::open(Path::new("/proc/self")).unwrap();
        let start = at as u64;
        let resident = |from: u64, to: u64| map.resident_bytes(start + from, start + to).unwrap() / page as u64;
        assert_eq!(resident(0, room as u64), 3);
        assert_eq!(resident(page as u64, 3 * page as u64), 0);
        assert_eq!(resident(3 * page as u64, 4 * page as u64), 1);
        // SAFETY: nothing points into the mapping any more.
        unsafe { libc::munmap(at, room) };
        assert_eq!(resident(0, room as u64), 0);
    }

    #[test]
    fn a_range_nowhere_is_not_resident() {
        let map = Pagemap::open(Path::new("/proc/self")).unwrap();
        assert_eq!(map.resident_bytes(0, 4096).unwrap(), 0);
        assert_eq!(map.resident_bytes(u64::MAX - 8192, u64::MAX).unwrap_or(0), 0);
    }
}
