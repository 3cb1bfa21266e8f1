//! What it would take to read a source that is closed to us.
//!
//! The kernel asks different things of different files: ptrace access for maps and memory, the owner's right to
//! open for `syscall` and descriptors (CAP_DAC_READ_SEARCH stands in for it), CAP_PERFMON for samples. Which
//! of them is missing is found by trying two things that need one right each. Settings that are read
//! (Yama, `perf_event_paranoid`) only choose the words: whether something is closed, a trial has shown.
//!
//! Source: fs/proc/base.c, fs/proc/fd.c, kernel/ptrace.c (`__ptrace_may_access`), kernel/events/core.c,
//! Documentation/admin-guide/LSM/Yama.rst.

use std::fs;

use super::glance;
use crate::kernel::{ProcRoot, perf_event, robust_list, status};
use crate::model::{Need, Pid, Unknown};

/// What the kernel asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Nothing; only hidepid closes it.
    Public,
    /// Ptrace access, for reading: `maps`, `smaps`, `wchan`, `exe`.
    Read,
    /// Ptrace access, as a debugger has it: memory, a pause. Yama may keep it from the same user.
    Attach,
    /// The right to open an owner's file, and ptrace access as well: descriptors.
    OwnersFile,
    /// The same, with a debugger's access: `syscall`.
    OwnersFileAttach,
    /// CAP_CHECKPOINT_RESTORE, whoever asks.
    Restore,
    /// CAP_PERFMON, or ptrace access where `perf_event_paranoid` allows it.
    Sample,
}

/// How we stand to a process, as trials have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// It runs as our own user.
    pub(super) same_user: bool,
    /// We have ptrace access for reading.
    pub(super) reads: bool,
    /// We may open what only its owner may open.
    pub(super) opens: bool,
    /// `kernel.yama.ptrace_scope`, where there is Yama.
    pub(super) yama: u8,
    pub(super) paranoid: i32,
}

impl Standing {
    pub(super) fn of(root: &ProcRoot, pid: Pid) -> Standing {
        if root.is_captured() {
            return Standing::default();
        }
        let folder = root.process(pid);
        let text = glance::small(root, &folder.join("status")).unwrap_or_default();
        let yama = fs::read_to_string(root.path().join("sys/kernel/yama/ptrace_scope")).unwrap_or_default();
        Standing {
            same_user: status::parse(&text).user == Some(rustix::process::getuid().as_raw()),
            // The least that needs ptrace access and nothing else.
            reads: robust_list::head(crate::model::Tid(pid.0)).is_ok(),
            // Listing descriptors needs no ptrace access; opening the folder needs its owner's right.
            opens: fs::read_dir(folder.join("fd")).is_ok(),
            yama: yama.trim().parse().unwrap_or(0),
            paranoid: perf_event::paranoid(root).unwrap_or(2),
        }
    }
}

const OWNER: Need = Need {
    need: "CAP_SYS_PTRACE or the same user",
    fix: "run threadscape as the owner of the process, as root, or with CAP_SYS_PTRACE",
};
const PTRACE: Need = Need {
    need: "CAP_SYS_PTRACE: the program is closed even to its own user",
    fix: "run threadscape as root or with CAP_SYS_PTRACE; set-uid programs, and those with capabilities that we lack, are closed to their user",
};
const YAMA: Need = Need {
    need: "CAP_SYS_PTRACE, because kernel.yama.ptrace_scope is 1 or more",
    fix: "run threadscape as root or with CAP_SYS_PTRACE, or set kernel.yama.ptrace_scope to 0",
};
const YAMA_CLOSED: Need = Need {
    need: "a kernel.yama.ptrace_scope below 3, which is set for good until the machine starts again",
    fix: "remove kernel.yama.ptrace_scope = 3 from the machine's sysctl settings and start it again",
};
const BOTH: Need = Need {
    need: "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or the same user",
    fix: "run threadscape as the owner of the process, as root, or with both capabilities",
};
const OPEN: Need = Need {
    need: "CAP_DAC_READ_SEARCH as well, or the same user",
    fix: "add CAP_DAC_READ_SEARCH to CAP_SYS_PTRACE, or run threadscape as the owner of the process or as root",
};
const RESTORE: Need = Need {
    need: "CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN",
    fix: "nothing where the files can be opened by their paths; for deleted and replaced ones run threadscape as root or with CAP_CHECKPOINT_RESTORE",
};
const SAMPLE: Need = Need {
    need: "CAP_PERFMON, CAP_SYS_PTRACE or the same user",
    fix: "run threadscape as the owner of the process, as root, or with CAP_PERFMON",
};
const SAMPLE_PARANOID: Need = Need {
    need: "CAP_PERFMON, because kernel.perf_event_paranoid is above 2",
    fix: "run threadscape as root or with CAP_PERFMON, or set kernel.perf_event_paranoid to 2 or less",
};
const SAMPLE_FILTERED: Need = Need {
    need: "the system call perf_event_open, which a filter or a security module refuses",
    fix: "allow perf_event_open in the profile of the container or service, as it does for CAP_PERFMON",
};
const LISTED: Need = Need {
    need: "a /proc that does not hide the processes of others (hidepid)",
    fix: "run threadscape as root, with CAP_SYS_PTRACE, or in the group that the mount's gid= names, or mount /proc without hidepid",
};

/// What would open a source that is closed for this reason. `None`: nothing would, or nothing is needed.
pub(super) fn need(right: Right, unknown: Unknown, standing: Standing) -> Option<Need> {
    match unknown {
        Unknown::PtraceDenied | Unknown::Denied | Unknown::SamplingDenied => Some(match right {
            Right::Public => LISTED,
            Right::Read => read(standing),
            Right::Attach => attach(standing),
            Right::OwnersFile => owners_file(standing, read(standing)),
            Right::OwnersFileAttach => owners_file(standing, attach(standing)),
            // Where it could not even be known what is mapped, that comes first.
            Right::Restore if unknown == Unknown::PtraceDenied => owners_file(standing, read(standing)),
            Right::Restore => RESTORE,
            Right::Sample if standing.paranoid > 2 => SAMPLE_PARANOID,
            Right::Sample if standing.reads => SAMPLE_FILTERED,
            Right::Sample => SAMPLE,
        }),
        other => other.need(),
    }
}

fn read(standing: Standing) -> Need {
    if standing.same_user { PTRACE } else { OWNER }
}

fn attach(standing: Standing) -> Need {
    match standing.yama {
        0 => read(standing),
        // Yama lets nobody attach.
        3.. => YAMA_CLOSED,
        _ => YAMA,
    }
}

fn owners_file(standing: Standing, access: Need) -> Need {
    match (standing.opens, standing.reads) {
        (true, _) => access,
        (false, true) => OPEN,
        // A program that is closed to its own user has root for the owner of its files.
        (false, false) if standing.same_user => Need {
            need: "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH: the program is closed even to its own user",
            ..PTRACE
        },
        (false, false) => BOTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(right: Right, standing: Standing, expected: Need) {
        assert_eq!(
            need(right, Unknown::PtraceDenied, standing),
            Some(expected),
            "{right:?} {standing:?}"
        );
    }

    const STRANGER: Standing = Standing {
        same_user: false,
        reads: false,
        opens: false,
        yama: 0,
        paranoid: 2,
    };

    #[test]
    fn a_stranger_is_told_of_the_owner_and_of_each_capability() {
        check(Right::Read, STRANGER, OWNER);
        check(Right::Attach, STRANGER, OWNER);
        check(Right::OwnersFile, STRANGER, BOTH);
        check(Right::OwnersFileAttach, STRANGER, BOTH);
        assert_eq!(need(Right::Sample, Unknown::SamplingDenied, STRANGER), Some(SAMPLE));
    }

    #[test]
    fn who_has_one_of_two_rights_is_told_of_the_other() {
        let traces = Standing {
            reads: true,
            ..STRANGER
        };
        check(Right::OwnersFile, traces, OPEN);
        check(Right::OwnersFileAttach, traces, OPEN);
        let opens = Standing {
            opens: true,
            ..STRANGER
        };
        check(Right::OwnersFileAttach, opens, OWNER);
    }

    #[test]
    fn yama_keeps_debuggers_out_and_readers_not() {
        let scoped = Standing {
            yama: 1,
            same_user: true,
            reads: true,
            opens: true,
            ..STRANGER
        };
        check(Right::Attach, scoped, YAMA);
        check(Right::OwnersFileAttach, scoped, YAMA);
        check(Right::Attach, Standing { yama: 3, ..scoped }, YAMA_CLOSED);
        check(Right::Read, Standing { yama: 3, ..STRANGER }, OWNER);
    }

    #[test]
    fn ones_own_program_can_be_closed_too() {
        let own = Standing {
            same_user: true,
            ..STRANGER
        };
        check(Right::Read, own, PTRACE);
        assert!(
            need(Right::OwnersFile, Unknown::PtraceDenied, own)
                .unwrap()
                .need
                .contains("CAP_DAC_READ_SEARCH")
        );
    }

    #[test]
    fn a_refused_sample_names_what_refuses_it() {
        let sample = |standing| need(Right::Sample, Unknown::SamplingDenied, standing).unwrap();
        assert_eq!(
            sample(Standing {
                paranoid: 4,
                ..STRANGER
            }),
            SAMPLE_PARANOID
        );
        assert_eq!(
            sample(Standing {
                reads: true,
                ..STRANGER
            }),
            SAMPLE_FILTERED
        );
    }

    #[test]
    fn what_no_right_opens_needs_none() {
        assert_eq!(need(Right::Read, Unknown::KernelThread, STRANGER), None);
        assert_eq!(need(Right::Attach, Unknown::Ourselves, STRANGER), None);
        assert_eq!(need(Right::Public, Unknown::Denied, STRANGER), Some(LISTED));
    }
}
