//! How many processes exist that we can't see, and why we can't: `hidepid`, or a pid namespace of our own.
//!
//! The kernel tells the number of all processes of the machine where nobody looks for it: as the link count of
//! `/proc` (`proc_root_getattr` in fs/proc/root.c: its folders, and one for each process), whatever the mount hides.
//! So what is hidden is that number less the fixed folders and the processes that are listed.
//!
//! In a pid namespace (a container) the list holds that namespace's processes alone, and the count is still the
//! machine's: what is missing is outside, and can't be told from what is hidden inside.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

use crate::kernel::ProcRoot;
use crate::kernel::mountinfo::{self, HidePid};
use crate::model::{Evidence, Pid, Unknown};

/// The initial pid namespace's number, the same on every machine (`PROC_PID_INIT_INO`, since 2024 in
/// uapi/linux/nsfs.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// Readings until nobody came or went meanwhile.
const TRIES: usize = 4;

/// What can be seen of the machine's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Listed in `/proc`.
    pub(crate) listed: u64,
    /// Exist, and are hidden from us.
    pub(crate) hidden: Evidence<u64>,
    /// Exist in the namespaces around ours: `None` where there are none around.
    pub(crate) outside: Option<Evidence<u64>>,
    pub(crate) option: Option<HidePid>,
}

pub(crate) fn look(root: &ProcRoot) -> Evidence<Sight> {
    if root.is_captured() {
        return Err(Unknown::NotCaptured);
    }
    let option = mountinfo::read(root).ok();
    let (listed, unreadable, missing) = count(root, option).map_err(|_| Unknown::Denied)?;
    let contained = is_contained(root);
    Ok(Sight {
        listed,
        hidden: hidden(option, contained, unreadable, missing),
        outside: (contained != Some(false)).then_some(match option {
            Some(HidePid::Off | HidePid::NoAccess) if contained == Some(true) => missing,
            _ => Err(Unknown::Denied),
        }),
        option,
    })
}

/// The number for the process list, which has counted those that it could not read.
pub(super) fn number(root: &ProcRoot, unreadable: u64) -> Evidence<u64> {
    let option = mountinfo::read(root).ok();
    let missing = match option {
        Some(HidePid::Invisible) => count(root, option).map_or(Err(Unknown::Denied), |(_, _, missing)| missing),
        _ => Err(Unknown::Denied),
    };
    hidden(option, is_contained(root), unreadable, missing)
}

fn hidden(option: Option<HidePid>, contained: Option<bool>, unreadable: u64, missing: Evidence<u64>) -> Evidence<u64> {
    match option {
        Some(HidePid::Off | HidePid::NoAccess) => Ok(unreadable),
        // What is missing in a container may be outside of it instead.
        Some(HidePid::Invisible) if contained == Some(false) => missing.map(|missing| missing + unreadable),
        _ => Err(Unknown::Denied),
    }
}

/// Processes that are listed, those of them that are closed, and how many more the machine has.
fn count(root: &ProcRoot, option: Option<HidePid>) -> io::Result<(u64, u64, Evidence<u64>)> {
    let links = || fs::metadata(root.path()).map(|root| root.nlink());
    let mut best = (0, 0, Err(Unknown::Denied));
    for _ in 0..TRIES {
        let before = links()?;
        let (mut listed, mut closed, mut folders) = (0, 0, 0);
        for entry in fs::read_dir(root.path())? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.parse::<u32>().is_ok()) {
                listed += 1;
                let closes = option == Some(HidePid::NoAccess)
                    && fs::metadata(entry.path().join("stat"))
                        .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
                closed += u64::from(closes);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders += 1;
            }
        }
        let after = links()?;
        // A folder has a link of its own, one from above, and one from each folder in it. A mount of processes
        // alone (`subset=pid`) shows no other folders, and then nothing can be reckoned.
        let missing = match folders {
            0 => Err(Unknown::Denied),
            _ => Ok(after.saturating_sub(2 + folders + listed)),
        };
        best = (listed, closed, missing);
        if before == after {
            break;
        }
    }
    Ok(best)
}

/// Whether our pid namespace lies in another. `None`: the kernel doesn't say.
fn is_contained(root: &ProcRoot) -> Option<bool> {
    let namespace = fs::read_link(root.path().join("self/ns/pid")).ok()?;
    Some(namespace.as_os_str() != FIRST_PID_NAMESPACE)
}

/// Whether a process exists that the list doesn't show. Asking for the right to signal it tells.
pub(crate) fn is_hidden(root: &ProcRoot, pid: Pid) -> bool {
    if root.is_captured() || root.process(pid).exists() {
        return false;
    }
    let Some(pid) = i32::try_from(pid.0).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    matches!(rustix::process::test_kill_process(pid), Ok(()) | Err(Errno::PERM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn where_nothing_is_hidden_the_number_is_zero_and_a_container_says_what_it_cannot_know() {
        let open = Some(HidePid::Off);
        assert_eq!(hidden(open, Some(false), 0, Ok(7)), Ok(0));
        assert_eq!(hidden(Some(HidePid::NoAccess), Some(false), 3, Ok(0)), Ok(3));
        let invisible = Some(HidePid::Invisible);
        assert_eq!(hidden(invisible, Some(false), 0, Ok(7)), Ok(7));
        assert_eq!(hidden(invisible, Some(true), 0, Ok(7)), Err(Unknown::Denied));
        assert_eq!(hidden(invisible, None, 0, Ok(7)), Err(Unknown::Denied));
        assert_eq!(hidden(None, Some(false), 0, Ok(7)), Err(Unknown::Denied));
    }

    /// This test program again, in namespaces of its own, as the one test that plays the observer.
    fn observer(before: &str, as_nobody: bool, unshared: &[&str]) -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        // Readable for nobody, as the build folder need not be.
        let us = std::env::current_exe().unwrap();
        let script = format!(
            "{before} && exec {} \"$0\" --exact observe::hidden::tests::an_observer --nocapture",
            if as_nobody {
                "setpriv --reuid 65534 --regid 65534 --clear-groups --"
            } else {
                ""
            }
        );
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("observer");
        fs::copy(us, &copy).unwrap();
        rustix::fs::chmod(folder.path(), rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let output = Command::new("unshare")
            .args(unshared)
            .args(["--mount", "sh", "-c", &script])
            .arg(copy)
            .env("THREADSCAPE_TEST_OBSERVER", child.id().to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let at = text.find("sight: ")?;
        Some(text[at..].lines().next().unwrap().to_owned())
    }

    /// Not a test by itself: what the others start.
    #[test]
    fn an_observer() {
        let Ok(other) = std::env::var("THREADSCAPE_TEST_OBSERVER") else {
            return;
        };
        let root = ProcRoot::live();
        let mut taker = super::super::census::Taker::new(root.clone());
        let role = |_| crate::model::Role::Other;
        let census = taker.census(crate::model::Nanos(0), std::time::Duration::from_secs(1), &role);
        let other = Pid(other.parse().unwrap());
        println!(
            "sight: {:?} census: {} {:?} other: {}",
            look(&root),
            census.processes.len(),
            census.hidden,
            is_hidden(&root, other)
        );
    }

    fn number_after(text: &str, word: &str) -> u64 {
        let at = text.find(word).unwrap_or_else(|| panic!("no {word} in {text}")) + word.len();
        let digits: String = text[at..].chars().take_while(char::is_ascii_digit).collect();
        digits
            .parse()
            .unwrap_or_else(|_| panic!("no number after {word} in {text}"))
    }

    #[test]
    fn processes_that_hidepid_hides_are_counted() {
        let hide = "mount -t proc -o hidepid=2 proc /proc";
        let Some(seen) = observer(hide, true, &[]) else { return };
        // At least init and kthreadd are not ours.
        assert!(number_after(&seen, "hidden: Ok(") >= 2, "{seen}");
        assert!(number_after(&seen, "listed: ") < 20, "{seen}");
        let (_, census) = seen.split_once("census: ").unwrap();
        assert!(number_after(census, " Ok(") >= 2, "{seen}");
        assert!(seen.ends_with("other: true"), "{seen}");
    }

    #[test]
    fn processes_that_are_listed_and_closed_are_counted() {
        let hide = "mount -t proc -o hidepid=1 proc /proc";
        let Some(seen) = observer(hide, true, &[]) else { return };
        assert!(number_after(&seen, "hidden: Ok(") >= 2, "{seen}");
        let (_, census) = seen.split_once("census: ").unwrap();
        assert!(number_after(census, " Ok(") >= 2, "{seen}");
    }

    #[test]
    fn from_root_nothing_is_hidden() {
        let hide = "mount -t proc -o hidepid=2 proc /proc";
        let Some(seen) = observer(hide, false, &[]) else { return };
        // Others start and end processes while we count.
        assert!(number_after(&seen, "hidden: Ok(") < 5, "{seen}");
        assert!(seen.contains("outside: None"), "{seen}");
    }

    #[test]
    fn in_a_container_what_is_outside_is_counted_apart() {
        let Some(seen) = observer("mount -t proc proc /proc", true, &["--pid", "--fork"]) else {
            return;
        };
        assert!(number_after(&seen, "listed: ") < 5, "{seen}");
        assert!(seen.contains("hidden: Ok(0)"), "{seen}");
        assert!(number_after(&seen, "outside: Some(Ok(") >= 2, "{seen}");
        let Some(seen) = observer("mount -t proc -o hidepid=2 proc /proc", true, &["--pid", "--fork"]) else {
            return;
        };
        assert!(
            seen.contains("hidden: Err(Denied), outside: Some(Err(Denied))"),
            "{seen}"
        );
    }
}
