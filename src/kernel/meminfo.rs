//! `/proc/meminfo`: the machine's memory.
//!
//! Source: Documentation/filesystems/proc.rst. Sizes are in kibibytes, though it prints `kB`.

use std::fs;
use std::io;

use super::ProcRoot;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemInfo {
    pub total_bytes: Option<u64>,
    /// What new programs could have without swapping. Absent before Linux 3.14.
    pub available_bytes: Option<u64>,
}

pub fn read(root: &ProcRoot) -> io::Result<MemInfo> {
    Ok(parse(&fs::read_to_string(root.path().join("meminfo"))?))
}

pub fn parse(text: &str) -> MemInfo {
    let bytes = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        let kibibytes: u64 = line[key.len()..].trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    MemInfo {
        total_bytes: bytes("MemTotal:"),
        available_bytes: bytes("MemAvailable:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kibibytes_become_bytes() {
        let info = parse("MemTotal:       24117248 kB\nMemFree: 1 kB\nMemAvailable:   23068672 kB\n");
        assert_eq!(info.total_bytes, Some(24117248 * 1024));
        assert_eq!(info.available_bytes, Some(23068672 * 1024));
        assert_eq!(parse("MemTotal: many\n"), MemInfo::default());
    }
}
