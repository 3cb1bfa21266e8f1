//! `/proc/<pid>/cgroup`: the control groups of a process, and whether they are frozen.
//!
//! Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst ("cgroup.events") and
//! cgroup-v1/freezer-subsystem.rst. `hierarchy:controllers:path` a line; hierarchy 0 is that of version 2. Where
//! the groups' own files are is in `mountinfo`: a mount may show a part of its hierarchy only (the
//! fourth word), as in a container.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::model::{MemoryLimit, Nanos};

/// The kernel has a dozen controllers.
const MOST_HIERARCHIES: usize = 32;

/// The groups of one process, as its own file words them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// In the hierarchy of version 2.
    pub unified: Option<Vec<u8>>,
    /// In that of version 1's freezer, where there is one.
    pub freezer: Option<Vec<u8>>,
    /// The first path of any hierarchy that isn't its root.
    deepest: Option<Vec<u8>>,
    /// In the hierarchies of version 1, by their controllers.
    separate: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Groups {
    /// The path that says most: that of version 2 unless it is the root, else the first of version 1
    /// that isn't.
    pub fn path(&self) -> Option<&[u8]> {
        let unified = self.unified.as_deref();
        unified
            .filter(|path| *path != b"/")
            .or(self.deepest.as_deref())
            .or(unified)
            .or(self.freezer.as_deref())
    }
}

pub fn parse(text: &[u8]) -> Groups {
    let mut groups = Groups::default();
    for line in text.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if path != b"/" && groups.deepest.is_none() {
            groups.deepest = Some(path.to_vec());
        }
        if hierarchy == b"0" && controllers.is_empty() {
            groups.unified = Some(path.to_vec());
        } else if groups.separate.len() < MOST_HIERARCHIES {
            groups.separate.push((controllers.to_vec(), path.to_vec()));
        }
        if controllers.split(|byte| *byte == b',').any(|name| name == b"freezer") {
            groups.freezer = Some(path.to_vec());
        }
    }
    groups
}

/// Where hierarchies are mounted: the part of the hierarchy that is seen there, and the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    unified: Option<(String, PathBuf)>,
    freezer: Option<(String, PathBuf)>,
    /// Those of version 1, with their options: controllers are among them.
    separate: Vec<(String, (String, PathBuf))>,
}

/// Parses `mountinfo`. Blanks in a path are written as `\040`: such a mount is left out.
pub fn parse_mounts(text: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in text.lines() {
        let Some((mount, system)) = line.split_once(" - ") else {
            continue;
        };
        let words: Vec<&str> = mount.split(' ').collect();
        let (Some(part), Some(folder)) = (words.get(3), words.get(4)) else {
            continue;
        };
        if part.contains('\\') || folder.contains('\\') {
            continue;
        }
        let found = Some(((*part).to_owned(), PathBuf::from(folder)));
        let mut system = system.split(' ');
        if let (true, Some(place), Some(options)) = (
            system.clone().next() == Some("cgroup") && mounts.separate.len() < MOST_HIERARCHIES,
            found.clone(),
            system.clone().nth(2),
        ) {
            mounts.separate.push((options.to_owned(), place));
        }
        match system.next() {
            Some("cgroup2") => mounts.unified = mounts.unified.or(found),
            Some("cgroup")
                if system
                    .nth(1)
                    .is_some_and(|options| options.split(',').any(|option| option == "freezer")) =>
            {
                mounts.freezer = mounts.freezer.or(found);
            }
            _ => {}
        }
    }
    mounts
}

impl Mounts {
    /// Whether the groups are frozen, by the word of whichever hierarchy says so. `None`: neither could be read.
    pub fn frozen(&self, groups: &Groups) -> Option<bool> {
        let unified = file_of(self.unified.as_ref(), groups.unified.as_deref(), "cgroup.events")
            .and_then(|path| is_frozen(&small(&path)?));
        let freezer = file_of(self.freezer.as_ref(), groups.freezer.as_deref(), "freezer.state")
            .and_then(|path| is_frozen(&small(&path)?));
        match (unified, freezer) {
            (None, None) => {
                // The root group can't be frozen and has no such file.
                let root = |path: &Option<Vec<u8>>| path.as_deref().is_none_or(|path| path == b"/");
                (root(&groups.unified) && root(&groups.freezer)).then_some(false)
            }
            (unified, freezer) => Some(unified == Some(true) || freezer == Some(true)),
        }
    }
}

/// What all processes of a control group have used together, and may use. What its files do not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupUse {
    pub cpu: Option<Nanos>,
    /// Enforcement periods so far, and those in which the group had used up its share; absent without a limit.
    pub periods: Option<u64>,
    pub throttled_periods: Option<u64>,
    pub throttled: Option<Nanos>,
    pub memory_bytes: Option<u64>,
    pub memory_limit: Option<MemoryLimit>,
}

/// Limits of version 1 are never absent: a number near the largest stands for none (page_counter.h).
const NO_LIMIT: u64 = i64::MAX as u64 / 4096 * 4096;

impl Mounts {
    /// Of the groups of one process: of version 2 where it has the controller, else of version 1.
    pub fn used(&self, groups: &Groups) -> GroupUse {
        let unified = |name: &str| small(&file_of(self.unified.as_ref(), groups.unified.as_deref(), name)?);
        let separate = |controller: &str, name: &str| {
            let has = |list: &[u8]| {
                list.split(|byte| *byte == b',')
                    .any(|word| word == controller.as_bytes())
            };
            let (_, mount) = self.separate.iter().find(|(options, _)| has(options.as_bytes()))?;
            let (_, path) = groups.separate.iter().find(|(controllers, _)| has(controllers))?;
            small(&file_of(Some(mount), Some(path), name)?)
        };
        let number = |text: Option<String>| text?.trim().parse::<u64>().ok();
        // The root group of version 2 has no limits and few files; version 1 may speak for the process all the same.
        if let Some(stat) = unified("cpu.stat").filter(|_| groups.unified.as_deref() != Some(b"/")) {
            return GroupUse {
                cpu: keyed(&stat, "usage_usec").map(micros),
                periods: keyed(&stat, "nr_periods"),
                throttled_periods: keyed(&stat, "nr_throttled"),
                throttled: keyed(&stat, "throttled_usec").map(micros),
                memory_bytes: number(unified("memory.current")),
                memory_limit: unified("memory.max").and_then(|text| limit(&text)),
            };
        }
        let stat = separate("cpu", "cpu.stat").unwrap_or_default();
        GroupUse {
            cpu: number(separate("cpuacct", "cpuacct.usage")).map(Nanos),
            periods: keyed(&stat, "nr_periods"),
            throttled_periods: keyed(&stat, "nr_throttled"),
            throttled: keyed(&stat, "throttled_time").map(Nanos),
            memory_bytes: number(separate("memory", "memory.usage_in_bytes")),
            memory_limit: separate("memory", "memory.limit_in_bytes").and_then(|text| limit(&text)),
        }
    }
}

fn micros(count: u64) -> Nanos {
    Nanos(count.saturating_mul(1000))
}

/// `name number` among lines.
fn keyed(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

fn limit(text: &str) -> Option<MemoryLimit> {
    match text.trim() {
        "max" => Some(MemoryLimit::Unlimited),
        bytes => match bytes.parse::<u64>().ok()? {
            NO_LIMIT.. => Some(MemoryLimit::Unlimited),
            bytes => Some(MemoryLimit::Bytes(bytes)),
        },
    }
}

fn file_of(mount: Option<&(String, PathBuf)>, path: Option<&[u8]>, name: &str) -> Option<PathBuf> {
    let (part, folder) = mount?;
    let path = std::str::from_utf8(path?).ok()?;
    // Out of our own namespace's part of the tree paths begin with `/..`: nothing of ours to look at.
    if path.split('/').any(|step| step == "..") {
        return None;
    }
    let within = if part == "/" {
        path
    } else {
        path.strip_prefix(part.as_str())?
    };
    Some(folder.join(within.trim_start_matches('/')).join(name))
}

fn small(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(4096).read_to_string(&mut text).ok()?;
    Some(text)
}

/// `frozen 1` among the lines of `cgroup.events`, or `FROZEN` alone. On its way there it isn't yet.
pub fn is_frozen(text: &str) -> Option<bool> {
    match text.trim() {
        "FROZEN" => Some(true),
        "THAWED" | "FREEZING" => Some(false),
        lines => lines
            .lines()
            .find_map(|line| line.strip_prefix("frozen "))
            .map(|value| value.trim() == "1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_told_apart() {
        let groups = parse(b"9:name=systemd:/\n6:cpu,freezer:/jail\n4:memory:/a:b\n0::/user.slice/x\nnonsense\n");
        assert_eq!(groups.unified.as_deref(), Some(&b"/user.slice/x"[..]));
        assert_eq!(groups.freezer.as_deref(), Some(&b"/jail"[..]));
        assert_eq!(groups.path(), Some(&b"/user.slice/x"[..]));
        assert_eq!(parse(b"4:memory:/a:b\n0::/\n").path(), Some(&b"/a:b"[..]));
        assert_eq!(parse(b"0::/\n").path(), Some(&b"/"[..]));
        assert_eq!(parse(b"").path(), None);
    }

    #[test]
    fn a_mount_may_show_a_part_of_its_hierarchy() {
        let text = "30 1 0:26 /docker/7 /sys/fs/cgroup ro shared:4 - cgroup2 cgroup rw\n31 1 0:27 / /freezer rw - cgroup cgroup rw,freezer\n32 1 0:28 / /cpu rw - cgroup cgroup rw,cpu\n";
        let mounts = parse_mounts(text);
        let unified = |path: &[u8]| file_of(mounts.unified.as_ref(), Some(path), "cgroup.events");
        assert_eq!(
            unified(b"/docker/7/web"),
            Some(PathBuf::from("/sys/fs/cgroup/web/cgroup.events"))
        );
        assert_eq!(unified(b"/docker/8"), None);
        assert_eq!(unified(b"/docker/7/../../etc"), None);
        assert_eq!(mounts.freezer, Some(("/".to_owned(), PathBuf::from("/freezer"))));
    }

    #[test]
    fn what_a_group_has_used_is_told_by_either_version() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "two/web/cpu.stat",
            "usage_usec 1500\nnr_periods 10\nnr_throttled 4\nthrottled_usec 20\n",
        );
        write("two/web/memory.max", "max\n");
        write("cpu/web/cpu.stat", "nr_periods 7\nnr_throttled 2\nthrottled_time 300\n");
        write("acct/web/cpuacct.usage", "12345\n");
        write("memory/web/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/web/memory.usage_in_bytes", "4096\n");
        let at = folder.path().display();
        let mounts = parse_mounts(&format!(
            "30 1 0:26 / {at}/two rw - cgroup2 cgroup2 rw\n31 1 0:27 / {at}/cpu rw - cgroup cgroup rw,cpu\n\
             32 1 0:28 / {at}/acct rw - cgroup cgroup rw,cpuacct\n33 1 0:29 / {at}/memory rw - cgroup cgroup rw,memory\n"
        ));
        let two = mounts.used(&parse(b"0::/web\n"));
        assert_eq!((two.cpu, two.throttled), (Some(Nanos(1_500_000)), Some(Nanos(20_000))));
        assert_eq!((two.periods, two.throttled_periods), (Some(10), Some(4)));
        assert_eq!(
            (two.memory_limit, two.memory_bytes),
            (Some(MemoryLimit::Unlimited), None)
        );
        let one = mounts.used(&parse(b"4:memory:/web\n3:cpuacct:/web\n1:cpu:/web\n0::/\n"));
        assert_eq!(
            one,
            GroupUse {
                cpu: Some(Nanos(12345)),
                periods: Some(7),
                throttled_periods: Some(2),
                throttled: Some(Nanos(300)),
                memory_bytes: Some(4096),
                memory_limit: Some(MemoryLimit::Unlimited),
            }
        );
        assert_eq!(mounts.used(&parse(b"0::/gone\n")), GroupUse::default());
        assert_eq!(limit("garbage"), None);
        assert_eq!(limit("100\n"), Some(MemoryLimit::Bytes(100)));
    }

    #[test]
    fn frozen_is_told_by_either_version() {
        for (text, expected) in [
            ("populated 1\nfrozen 1\n", Some(true)),
            ("populated 1\nfrozen 0\n", Some(false)),
            ("FROZEN\n", Some(true)),
            ("FREEZING\n", Some(false)),
            ("THAWED\n", Some(false)),
            ("populated 1\n", None),
        ] {
            assert_eq!(is_frozen(text), expected, "{text}");
        }
    }

    #[test]
    fn the_root_group_is_never_frozen_and_an_unreadable_one_is_unknown() {
        let none = Mounts::default();
        assert_eq!(none.frozen(&parse(b"0::/\n")), Some(false));
        assert_eq!(none.frozen(&parse(b"0::/a\n")), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text: String) {
            let _ = parse_mounts(&text).frozen(&parse(&bytes));
            let _ = is_frozen(&text);
        }
    }
}
