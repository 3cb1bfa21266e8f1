//! Limits: how many files we may keep open, and how far another process' main stack may grow.
//!
//! The soft limit is 1024 on most systems, for the sake of programs that call `select`; a program
//! that doesn't may raise it to the hard limit (systemd.io, "File Descriptor Limits").

use super::{ProcRoot, file};
use crate::model::Pid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one and gives back what holds now.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // A refusal leaves the old limit, and with it we read more slowly but no less.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The soft limit of a process' main stack in bytes. `None`: it has none, or it can't be read.
///
/// `/proc/<pid>/limits`, which everybody may read. Source: `proc_pid_limits` in fs/proc/base.c.
pub fn stack_of(root: &ProcRoot, pid: Pid) -> Option<u64> {
    let dir = file::open_dir(&root.process(pid)).ok()??;
    let mut buffer = file::Buffer::default();
    parse_stack(file::read_at(&dir, "limits", &mut buffer).ok()??)
}

fn parse_stack(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix("Max stack size"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_limit_is_the_soft_one() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax data size  unlimited  unlimited  bytes\nMax stack size            8388608              unlimited            bytes     \n";
        assert_eq!(parse_stack(text.as_bytes()), Some(8 << 20));
        for text in [
            "",
            "Max stack size   unlimited  unlimited bytes",
            "Max stack size",
            "\u{fffd}",
        ] {
            assert_eq!(parse_stack(text.as_bytes()), None, "{text:?}");
        }
        let ours = getrlimit(Resource::Stack).current;
        assert_eq!(stack_of(&ProcRoot::live(), Pid(std::process::id())), ours);
    }

    #[test]
    fn the_soft_limit_meets_the_hard_one() {
        let raised = raise_open_files();
        assert_eq!(Some(raised), getrlimit(Resource::Nofile).maximum.or(Some(u64::MAX)));
    }
}
