//! `process_vm_readv`: bytes of another process' memory, copied while it runs on.
//!
//! Source: process_vm_readv(2). Needs ptrace access, as `/proc/<pid>/mem` does, but not the right
//! to open that file. What is copied is no snapshot: the process writes while we read.

use std::io;

use crate::model::Pid;

/// The kernel's `UIO_MAXIOV`: most pieces of one call.
const MOST_PIECES: usize = 1024;

/// What to copy, where to, and how much of it came.
#[derive(Debug)]
pub struct Piece<'a> {
    pub address: u64,
    pub into: &'a mut [u8],
    /// Fewer than `into` is long: what follows is not mapped.
    pub copied: usize,
}

impl<'a> Piece<'a> {
    pub fn new(address: u64, into: &'a mut [u8]) -> Piece<'a> {
        Piece {
            address,
            into,
            copied: 0,
        }
    }
}

/// Copies many pieces of `pid` with as few calls as there can be.
///
/// A page that cannot be read ends a call there, and what stands behind it has not been tried: we go on
/// with the next piece. So every call gets past one piece at least, and the number of calls is bounded.
/// An error is about the whole process: it has ended, or may not be read.
pub fn read_many(pid: Pid, pieces: &mut [Piece<'_>]) -> io::Result<()> {
    let most = pieces.len().min(MOST_PIECES);
    let (mut ours, mut theirs) = (Vec::with_capacity(most), Vec::with_capacity(most));
    let mut next = 0;
    while next < pieces.len() {
        let until = pieces.len().min(next + MOST_PIECES);
        ours.clear();
        theirs.clear();
        for piece in &mut pieces[next..until] {
            ours.push(libc::iovec {
                iov_base: piece.into.as_mut_ptr().cast(),
                iov_len: piece.into.len(),
            });
            theirs.push(libc::iovec {
                iov_base: piece.address as *mut libc::c_void,
                iov_len: piece.into.len(),
            });
        }
        // SAFETY: each of `ours` spans exactly one piece's `into`, which is borrowed mutably, and apart from
        // the others, until this function returns; the counts are those of the two lists. `theirs` are
        // addresses in the other process: only the kernel follows them, and a bad one comes back as EFAULT.
        let copied = unsafe {
            libc::process_vm_readv(
                pid.0 as libc::pid_t,
                ours.as_ptr(),
                ours.len() as libc::c_ulong,
                theirs.as_ptr(),
                theirs.len() as libc::c_ulong,
                0,
            )
        };
        let mut left = match usize::try_from(copied) {
            Ok(copied) => copied,
            Err(_) => match io::Error::last_os_error() {
                // Nothing of the first piece.
                error if error.raw_os_error() == Some(libc::EFAULT) => 0,
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            },
        };
        for piece in &mut pieces[next..until] {
            piece.copied = piece.into.len().min(left);
            left -= piece.copied;
            next += 1;
            if piece.copied < piece.into.len() {
                break;
            }
        }
    }
    Ok(())
}

/// Copies from `address` of `pid` and gives back how many bytes it was. Fewer than asked: what
/// follows is not mapped.
pub fn read(pid: Pid, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let ours = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let theirs = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: into.len(),
    };
    // SAFETY: `ours` spans exactly `into`, borrowed mutably until the call returns. `theirs` is an
    // address in the other process: only the kernel follows it, and a bad one comes back as EFAULT.
    let copied = unsafe { libc::process_vm_readv(pid.0 as libc::pid_t, &raw const ours, 1, &raw const theirs, 1, 0) };
    usize::try_from(copied).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_read_what_we_wrote() {
        let written = *b"forty-two bytes that nobody else has here!";
        let mut read_back = [0; 42];
        let us = Pid(std::process::id());
        assert_eq!(read(us, written.as_ptr() as u64, &mut read_back).unwrap(), 42);
        assert_eq!(read_back, written);
    }

    #[test]
    fn a_bad_address_is_an_error_and_no_crash() {
        let us = Pid(std::process::id());
        for address in [0, 8, u64::MAX - 16, 0xffff_8000_0000_0000] {
            assert!(read(us, address, &mut [0; 8]).is_err(), "{address:x}");
        }
        assert_eq!(read(us, 0x1000, &mut []).unwrap(), 0);
    }

    #[test]
    fn many_pieces_come_with_one_call_and_a_bad_one_costs_only_itself() {
        let us = Pid(std::process::id());
        let written: Vec<u64> = (0..3000).map(|number| number * 7).collect();
        let mut space = vec![[0u8; 8]; 3000];
        let bad = [0, 5, 6, 1023, 1024, 1500, 2999];
        let mut pieces: Vec<Piece<'_>> = space
            .iter_mut()
            .enumerate()
            .map(|(at, into)| {
                let address = if bad.contains(&at) {
                    16
                } else {
                    &raw const written[at] as u64
                };
                Piece::new(address, into)
            })
            .collect();
        read_many(us, &mut pieces).unwrap();
        for (at, piece) in pieces.iter().enumerate() {
            assert_eq!(piece.copied, if bad.contains(&at) { 0 } else { 8 }, "{at}");
        }
        for (at, bytes) in space.iter().enumerate().filter(|(at, _)| !bad.contains(at)) {
            assert_eq!(u64::from_ne_bytes(*bytes), written[at]);
        }
    }

    #[test]
    fn a_piece_that_runs_into_nothing_says_how_far_it_came() {
        let us = Pid(std::process::id());
        let page = rustix::param::page_size();
        let prot = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        let flags = rustix::mm::MapFlags::PRIVATE;
        // SAFETY: a new mapping at a place that the kernel chooses; nothing else is there.
        let start = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), 2 * page, prot, flags) }.unwrap();
        // SAFETY: the second page of the mapping made above, which nobody else knows of.
        unsafe { rustix::mm::munmap(start.cast::<u8>().wrapping_add(page).cast(), page) }.unwrap();
        let (mut cut, mut whole) = (vec![1; 100], vec![1; 10]);
        let mut pieces = [
            Piece::new(start as u64 + page as u64 - 40, &mut cut),
            Piece::new(start as u64, &mut whole),
        ];
        read_many(us, &mut pieces).unwrap();
        assert_eq!((pieces[0].copied, pieces[1].copied), (40, 10));
        // SAFETY: the page that is left of the mapping made above.
        unsafe { rustix::mm::munmap(start, page) }.unwrap();
    }

    #[test]
    fn a_process_that_is_not_there_is_no_such_process() {
        let error = read(Pid(0x7fff_fff0), 0x1000, &mut [0; 8]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        let error = read_many(Pid(0x7fff_fff0), &mut [Piece::new(0x1000, &mut [0; 8])]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        read_many(Pid(0x7fff_fff0), &mut []).unwrap();
    }
}
