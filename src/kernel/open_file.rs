//! `/proc/<pid>/task/<tid>/fd/<n>` and `fdinfo/<n>`: what an open file is, and what the kernel adds.
//!
//! Source: proc_pid_fd(5), proc_pid_fdinfo(5), Documentation/filesystems/proc.rst ("/proc/<pid>/fdinfo"),
//! and the `show_fdinfo` of fs/eventpoll.c, eventfd.c, timerfd.c, signalfd.c, notify/fdinfo.c and
//! kernel/fork.c (pidfd). The link is asked for and never followed: what it leads to may be a file
//! that blocks whoever opens it. A thread's own folder, because threads may have tables of their own,
//! and because the process' folder is empty once the main thread has gone.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::readlinkat;
use rustix::io::Errno;

use super::file;

/// Of an epoll's or an inotify's list no more is read: the kernel would print a line for each.
const MOST_INFO: usize = 16 * 1024;

/// What the link of an open file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link<'a> {
    /// The socket's inode: the key of the tables in `net`.
    Socket(u64),
    Pipe(u64),
    /// The name behind `anon_inode:`, without brackets: `eventpoll`, `eventfd`, `inotify`…
    Anonymous(&'a [u8]),
    /// A path as the process sees it, or another of the kernel's own names (`net:[4026531840]`).
    Path(&'a [u8]),
}

pub fn parse_link(link: &[u8]) -> Link<'_> {
    let numbered = |prefix: &[u8]| {
        let number = link.strip_prefix(prefix)?.strip_suffix(b"]")?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    if let Some(inode) = numbered(b"socket:[") {
        return Link::Socket(inode);
    }
    if let Some(inode) = numbered(b"pipe:[") {
        return Link::Pipe(inode);
    }
    // Since Linux 6.9 a pidfd has a file system of its own.
    if link.starts_with(b"pidfd:[") {
        return Link::Anonymous(b"pidfd");
    }
    match link.strip_prefix(b"anon_inode:") {
        Some(name) => {
            let inner = name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]"));
            Link::Anonymous(inner.unwrap_or(name))
        }
        None => Link::Path(link),
    }
}

/// The link of `fd` of the thread `tid`, within a kept `task` directory. `None`: the thread has
/// ended, or has no such file open.
pub fn link(task: impl AsFd, tid: u32, fd: u32) -> io::Result<Option<Vec<u8>>> {
    match readlinkat(task, format!("{tid}/fd/{fd}"), Vec::with_capacity(64)) {
        Ok(link) => Ok(Some(link.into_bytes())),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What `fdinfo` says beyond position and flags, for the kinds that say more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// An epoll's files, the first few.
    pub watched: Vec<u32>,
    /// How many lines there were of them (or of an inotify's watches).
    pub watched_total: u32,
    /// The text went on: there are more.
    pub cut: bool,
    pub event_count: Option<u64>,
    pub timer: Option<Timer>,
    /// Of a signalfd: bit n-1 stands for signal n.
    pub signals: Option<u64>,
    /// Of a pidfd, as we see it. -1: it has ended; 0: it is in another pid namespace.
    pub process: Option<i64>,
}

/// A timerfd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    /// Until it fires next. 0: disarmed.
    pub left_ns: u64,
    /// 0: once.
    pub interval_ns: u64,
}

/// How many of an epoll's files are named.
const NAMED: usize = 4;

pub fn parse_info(text: &[u8]) -> Info {
    let mut info = Info::default();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if let Some(rest) = line.strip_prefix("tfd:") {
            if let Some(fd) = first_word(rest) {
                info.watched_total = info.watched_total.saturating_add(1);
                if info.watched.len() < NAMED {
                    info.watched.push(fd);
                }
            }
        } else if line.starts_with("inotify wd:") {
            info.watched_total = info.watched_total.saturating_add(1);
        } else if let Some(rest) = line.strip_prefix("eventfd-count:") {
            info.event_count = u64::from_str_radix(rest.trim(), 16).ok();
        } else if let Some(rest) = line.strip_prefix("sigmask:") {
            info.signals = u64::from_str_radix(rest.trim(), 16).ok();
        } else if let Some(rest) = line.strip_prefix("Pid:") {
            info.process = first_word(rest);
        } else if let Some(rest) = line.strip_prefix("it_value:") {
            if let Some(left_ns) = pair(rest) {
                info.timer.get_or_insert_default().left_ns = left_ns;
            }
        } else if let Some(rest) = line.strip_prefix("it_interval:")
            && let Some(interval_ns) = pair(rest)
        {
            info.timer.get_or_insert_default().interval_ns = interval_ns;
        }
    }
    info
}

fn first_word<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// `(seconds, nanoseconds)`.
fn pair(text: &str) -> Option<u64> {
    let (seconds, nanos) = text.trim().strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let (seconds, nanos): (u64, u64) = (seconds.trim().parse().ok()?, nanos.trim().parse().ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// `fdinfo` of an open file, its beginning. `None`: the thread has ended, or has no such file open.
pub fn info(task: impl AsFd, tid: u32, fd: u32) -> io::Result<Option<Info>> {
    let Some(opened) = file::open(task, &format!("{tid}/fdinfo/{fd}"))? else {
        return Ok(None);
    };
    let mut text = vec![0; MOST_INFO];
    let mut length = 0;
    // The kernel gives a page at most at a time.
    while length < text.len() {
        match rustix::io::pread(&opened, &mut text[length..], length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(Errno::INTR) => {}
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let cut = length == text.len();
    // A line that was cut in two would be another number.
    let whole = if cut {
        text[..length]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1)
    } else {
        length
    };
    Ok(Some(Info {
        cut,
        ..parse_info(&text[..whole])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::file::open_dir;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    #[test]
    fn a_link_says_what_kind_of_file_it_is() {
        for (link, expected) in [
            (&b"socket:[24577]"[..], Link::Socket(24577)),
            (b"pipe:[9]", Link::Pipe(9)),
            (b"anon_inode:[eventpoll]", Link::Anonymous(b"eventpoll")),
            (b"anon_inode:inotify", Link::Anonymous(b"inotify")),
            (b"pidfd:[17950]", Link::Anonymous(b"pidfd")),
            (b"/tmp/a (deleted)", Link::Path(b"/tmp/a (deleted)")),
            (b"socket:[x]", Link::Path(b"socket:[x]")),
            (b"", Link::Path(b"")),
        ] {
            assert_eq!(parse_link(link), expected);
        }
    }

    #[test]
    fn each_kind_of_file_says_its_own() {
        let head = "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1038\n";
        let parse = |text: &str| parse_info(format!("{head}{text}").as_bytes());
        let epoll =
            parse("tfd:        4 events:       19 data:                4  pos:0 ino:5bf1 sdev:f\ntfd: 7 events: 1\n");
        assert_eq!((epoll.watched, epoll.watched_total), (vec![4, 7], 2));
        // Counts are hexadecimal.
        assert_eq!(
            parse("eventfd-count:               1f\neventfd-id: 1\n").event_count,
            Some(31)
        );
        let timer = parse("clockid: 1\nticks: 0\nsettime flags: 00\nit_value: (59, 999935234)\nit_interval: (1, 0)\n");
        assert_eq!(
            timer.timer,
            Some(Timer {
                left_ns: 59_999_935_234,
                interval_ns: 1_000_000_000
            })
        );
        assert_eq!(parse("sigmask:\t0000000000000006\n").signals, Some(6));
        assert_eq!(parse("inotify wd:1 ino:3c4a7\ninotify wd:2 ino:9\n").watched_total, 2);
        assert_eq!(parse("Pid:\t17949\nNSpid:\t17949\n").process, Some(17949));
        assert_eq!(parse("Pid:\t-1\n").process, Some(-1));
        assert_eq!(parse(""), Info::default());
    }

    #[test]
    fn our_own_files_are_what_we_opened() {
        let task = open_dir(Path::new("/proc/self/task")).unwrap().unwrap();
        let tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
        let data = rustix::event::epoll::EventData::new_u64(1);
        rustix::event::epoll::add(&epoll, &read, data, rustix::event::epoll::EventFlags::IN).unwrap();
        let number = |fd: &std::os::fd::OwnedFd| fd.as_raw_fd() as u32;
        let shown = link(&task, tid, number(&read)).unwrap().unwrap();
        assert!(matches!(parse_link(&shown), Link::Pipe(_)), "{shown:?}");
        let shown = link(&task, tid, number(&epoll)).unwrap().unwrap();
        assert_eq!(parse_link(&shown), Link::Anonymous(b"eventpoll"));
        let info = info(&task, tid, number(&epoll)).unwrap().unwrap();
        assert_eq!(
            (info.watched, info.watched_total, info.cut),
            (vec![number(&read)], 1, false)
        );
        assert_eq!(link(&task, tid, 999_999).unwrap(), None);
        assert_eq!(super::info(&task, tid, 999_999).unwrap(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "(tfd:|it_value:|sigmask:|Pid:|eventfd-count:)[ \t(),0-9a-f-]{0,40}\n?") {
            let _ = (parse_link(&bytes), parse_info(&bytes), parse_info(text.as_bytes()));
        }
    }
}
