//! `/proc/self/mountinfo`: whether `/proc` was mounted so that it hides other users' processes.
//!
//! Source: Documentation/filesystems/proc.rst, "Mount options", and proc_pid_mountinfo(5).

use std::fs;
use std::io;

use super::ProcRoot;

/// The `hidepid` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HidePid {
    Off,
    /// Other users' directories are listed, but can't be read.
    NoAccess,
    /// They aren't listed.
    Invisible,
}

pub fn read(root: &ProcRoot) -> io::Result<HidePid> {
    let text = fs::read(root.path().join("self/mountinfo"))?;
    let mount_point = root.path().to_string_lossy();
    Ok(parse(&String::from_utf8_lossy(&text), &mount_point))
}

/// The last mount on the same point wins: it covers the others. Options stand in the sixth word and,
/// those of the file system, in the last.
pub fn parse(text: &str, mount_point: &str) -> HidePid {
    let mut found = HidePid::Off;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let separator = words.iter().position(|word| *word == "-");
        let kind = separator.and_then(|at| words.get(at + 1));
        if words.get(4) != Some(&mount_point) || kind != Some(&"proc") {
            continue;
        }
        let options = [words.get(5), words.last()];
        found = options
            .into_iter()
            .flatten()
            .flat_map(|options| options.split(','))
            .find_map(|option| option.strip_prefix("hidepid="))
            .map_or(HidePid::Off, |value| match value {
                "0" | "off" => HidePid::Off,
                "1" | "noaccess" => HidePid::NoAccess,
                _ => HidePid::Invisible,
            });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(option: &str, expected: HidePid) {
        let text = format!(
            "22 1 0:21 / /sys rw,relatime - sysfs sysfs rw\n23 1 0:22 / /proc rw,nosuid shared:14 - proc proc rw{option}\n"
        );
        assert_eq!(parse(&text, "/proc"), expected, "{option}");
    }

    #[test]
    fn the_option_is_known_by_number_and_by_word() {
        check("", HidePid::Off);
        check(",hidepid=0", HidePid::Off);
        check(",gid=5,hidepid=1", HidePid::NoAccess);
        check(",hidepid=noaccess", HidePid::NoAccess);
        check(",hidepid=2", HidePid::Invisible);
        check(",hidepid=invisible", HidePid::Invisible);
        check(",hidepid=ptraceable", HidePid::Invisible);
    }

    #[test]
    fn another_proc_mount_does_not_count() {
        let text = "23 1 0:22 / /jail/proc rw - proc proc rw,hidepid=2\n";
        assert_eq!(parse(text, "/proc"), HidePid::Off);
    }
}
