//! `process_vm_readv`: bytes of another process' memory, copied while it runs on.
//!
//! Source: process_vm_readv(2). Needs ptrace access, as `/proc/<pid>/mem` does, but not the right
//! to open that file. What is copied is no snapshot: the process writes while we read.

use std::io;

use crate::model::Pid;

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
    fn a_process_that_is_not_there_is_no_such_process() {
        let error = read(Pid(0x7fff_fff0), 0x1000, &mut [0; 8]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
