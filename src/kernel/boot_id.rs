//! `/proc/sys/kernel/…`: which boot this is, and what the machine and its kernel are called.
//!
//! Source: Documentation/admin-guide/sysctl/kernel.rst. The boot id is random and stays until the
//! next boot: with it a pid and its start time name a process for good.

use std::fs;
use std::io;

use super::ProcRoot;

/// `random/boot_id`.
pub fn read(root: &ProcRoot) -> io::Result<String> {
    line(root, "sys/kernel/random/boot_id")
}

/// `hostname`.
pub fn hostname(root: &ProcRoot) -> io::Result<String> {
    line(root, "sys/kernel/hostname")
}

/// `osrelease`, such as `6.18.44`.
pub fn kernel_release(root: &ProcRoot) -> io::Result<String> {
    line(root, "sys/kernel/osrelease")
}

fn line(root: &ProcRoot, name: &str) -> io::Result<String> {
    let text = fs::read(root.path().join(name))?;
    Ok(String::from_utf8_lossy(text.trim_ascii()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_at_every_reading() {
        let live = ProcRoot::live();
        let first = read(&live).unwrap();
        assert_eq!(first.len(), 36, "{first}");
        assert_eq!(read(&live).unwrap(), first);
    }
}
