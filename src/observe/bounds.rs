//! How much memory a process has had at most, and how much it may have.
//!
//! The peak is the kernel's own high-water mark of the whole process, from `status`; nobody can set it
//! back without writing to the process. Limits are those of `setrlimit`, from `limits`: data is brk and
//! private writable mappings, which is what a heap is made of.

use std::path::Path;

use super::glance;
use crate::kernel::ProcRoot;
use crate::model::{Evidence, MemoryBounds, MemoryLimit, Unknown};

/// `folder` is the one in which the memory files of the process speak.
pub(super) fn read(root: &ProcRoot, folder: &Path) -> MemoryBounds {
    let limits = glance::small(root, &folder.join("limits"));
    let limit = |name: &str| match &limits {
        Ok(text) => limit_of(&String::from_utf8_lossy(text), name).ok_or(Unknown::Unreadable),
        Err(unknown) => Err(*unknown),
    };
    MemoryBounds {
        peak_resident_bytes: glance::small(root, &folder.join("status")).and_then(|text| peak_of(&text)),
        data_limit: limit("Max data size"),
        address_space_limit: limit("Max address space"),
    }
}

/// Without memory there is no line.
fn peak_of(status: &[u8]) -> Evidence<u64> {
    let line = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"VmHWM:"))
        .ok_or(Unknown::NoKernelSupport)?;
    let text = std::str::from_utf8(line).map_err(|_| Unknown::Unreadable)?;
    text.trim()
        .strip_suffix(" kB")
        .and_then(|kib| kib.trim().parse::<u64>().ok()?.checked_mul(1024))
        .ok_or(Unknown::Unreadable)
}

/// The soft limit of one line of `limits`: the first word behind the name.
fn limit_of(limits: &str, name: &str) -> Option<MemoryLimit> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_ascii_whitespace().next()? {
        "unlimited" => Some(MemoryLimit::Unlimited),
        bytes => bytes.parse().ok().map(MemoryLimit::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pid;

    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max data size             1048576              unlimited            bytes     \n\
Max stack size            8388608              unlimited            bytes     \n\
Max address space         unlimited            unlimited            bytes     \n";

    #[test]
    fn the_soft_limit_is_what_holds() {
        assert_eq!(limit_of(LIMITS, "Max data size"), Some(MemoryLimit::Bytes(1 << 20)));
        assert_eq!(limit_of(LIMITS, "Max address space"), Some(MemoryLimit::Unlimited));
        assert_eq!(limit_of(LIMITS, "Max nothing"), None);
        assert_eq!(limit_of("Max data size many bytes", "Max data size"), None);
    }

    #[test]
    fn a_peak_is_read_in_bytes_and_garbage_is_none() {
        assert_eq!(peak_of(b"VmPeak:\t 9 kB\nVmHWM:\t    5120 kB\n"), Ok(5120 << 10));
        assert_eq!(peak_of(b"Name:\tkthreadd\n"), Err(Unknown::NoKernelSupport));
        for wrong in [
            &b"VmHWM: many kB"[..],
            b"VmHWM:\t5",
            b"VmHWM: 18446744073709551615 kB",
            b"VmHWM:\xff kB",
        ] {
            assert_eq!(peak_of(wrong), Err(Unknown::Unreadable));
        }
    }

    #[test]
    fn our_own_peak_is_no_less_than_what_we_have_now() {
        let (root, pid) = (ProcRoot::live(), Pid(std::process::id()));
        let folder = root.process(pid);
        let (_, resident) = glance::totals(&root, &folder, rustix::param::page_size() as u64).unwrap();
        let bounds = read(&root, &folder);
        // The kernel keeps its counters in per-CPU parts: a few dozen pages of difference are nothing.
        assert!(bounds.peak_resident_bytes.unwrap() + (1 << 20) >= resident);
        assert!(bounds.data_limit.is_ok() && bounds.address_space_limit.is_ok());
    }
}
