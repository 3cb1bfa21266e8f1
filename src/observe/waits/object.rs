//! The object behind a wait: which file or socket, which child, how long a sleep.
//!
//! `call` says what is to be looked up; here it is. A row is looked up at [`Depth::Row`]: a link, a
//! few bytes of memory, seldom a table of sockets. The view of one thread goes to [`Depth::Whole`]: the
//! lists that poll and epoll wait on, counts, signal sets. Everything is bounded. The thread may go on
//! meanwhile and its files may be closed and opened anew: whoever must be sure reads the call again
//! afterwards. Names of files and sockets are the program's: hostile bytes, shown as text and cut.

use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::call::{About, Call, Clock, Time, Which};
use super::time_limit;
use crate::kernel::open_file::{self, Link};
use crate::kernel::sockets::{InetState, Socket, Sockets};
use crate::kernel::{ProcRoot, clock, comm, file, process_vm, sockets, stat};
use crate::model::{Evidence, Nanos, Pid, SignalSet, Tid, TimeLimit, Unknown, WaitObject};

/// How much is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) enum Depth {
    Row,
    Whole,
}

/// A name is cut here in a row, and where the whole is asked for at the longest path there is.
const ROW_NAME: usize = 256;
const WHOLE_NAME: usize = 4096;
/// Of a list of files so many are named, out of so many that are looked at.
const NAMED: usize = 4;
const LOOKED_AT: u32 = 1024;

/// Which thread is looked at.
#[derive(Clone, Copy)]
pub(in crate::observe) struct Thread<'a> {
    pub(in crate::observe) root: &'a ProcRoot,
    pub(in crate::observe) process: Pid,
    /// The kept `task` directory of the process.
    pub(in crate::observe) task: &'a OwnedFd,
    pub(in crate::observe) tid: Tid,
    /// The kernel function it sleeps in: it knows a pipe with a path from a file.
    pub(in crate::observe) function: Option<&'a str>,
}

/// What a look gave.
pub(in crate::observe) struct Look {
    pub(in crate::observe) object: Evidence<WaitObject>,
    /// Nothing was left out for being dear just now.
    pub(in crate::observe) complete: bool,
}

/// The tables of sockets of a process, read when a socket is met that they lack, but seldom: a busy
/// machine's take tens of milliseconds.
#[derive(Default)]
pub(in crate::observe) struct SocketBook {
    tables: Option<Result<Sockets, Unknown>>,
    read_at: Nanos,
    took: Nanos,
}

/// The tables rest for so many times as long as they took to read, and a second at least: 2 % of the time at most.
const REST: u64 = 50;
const LEAST_REST: u64 = 1_000_000_000;

impl SocketBook {
    /// `None` in the first place: they are to be read later. In the second: there is no such socket.
    fn find(&mut self, thread: &Thread<'_>, inode: u64, depth: Depth) -> Option<Evidence<Option<(&Sockets, &Socket)>>> {
        let known = matches!(&self.tables, Some(Ok(tables)) if tables.get(inode).is_some());
        if !known {
            let now = clock::monotonic();
            let rest = self.took.0.saturating_mul(REST).max(LEAST_REST);
            let rested = self.tables.is_none() || now.saturating_sub(self.read_at).0 >= rest;
            if rested || depth == Depth::Whole {
                let folder = thread.root.thread(thread.process, thread.tid).join("net");
                self.tables = Some(sockets::read(&folder).map_err(|error| refusal(thread.root, &error)));
                self.read_at = now;
                self.took = clock::monotonic().saturating_sub(now);
            } else if matches!(self.tables, Some(Ok(_))) {
                return None;
            }
        }
        match self.tables.as_ref()? {
            Ok(tables) => Some(Ok(tables.get(inode).map(|socket| (tables, socket)))),
            Err(why) => Some(Err(*why)),
        }
    }
}

/// Looks up what a call is about.
pub(in crate::observe) fn look(call: &Call, thread: &Thread<'_>, depth: Depth, book: &mut SocketBook) -> Look {
    let mut look = Looking {
        thread,
        depth,
        book,
        complete: true,
    };
    let object = look.about(call);
    Look {
        object,
        complete: look.complete,
    }
}

/// The time-out of a call, or the end of a sleep. `NoObject`: none was given.
pub(in crate::observe) fn limit_of(call: &Call, thread: &Thread<'_>) -> Evidence<TimeLimit> {
    let words = |at: u64| -> Evidence<(i64, i64)> {
        let mut bytes = [0; 16];
        memory(thread, at, &mut bytes)?;
        Ok((word(&bytes, 0), word(&bytes, 8)))
    };
    match call.time.ok_or(Unknown::NoObject)? {
        Time::Milliseconds(count) => Ok(time_limit::span(i128::from(count) * 1_000_000, Clock::Monotonic)),
        Time::Timeval(at) => {
            let (seconds, micros) = words(at)?;
            Ok(time_limit::span(
                time_limit::of(seconds, 0) + i128::from(micros) * 1000,
                Clock::Monotonic,
            ))
        }
        Time::Timespec { at, clock, absolute } => {
            let (seconds, nanos) = words(at)?;
            let asked = time_limit::of(seconds, nanos);
            Ok(if absolute {
                time_limit::moment(asked, clock, time_limit::now(clock))
            } else {
                time_limit::span(asked, clock)
            })
        }
    }
}

struct Looking<'a, 'b> {
    thread: &'a Thread<'a>,
    depth: Depth,
    book: &'b mut SocketBook,
    complete: bool,
}

impl Looking<'_, '_> {
    fn about(&mut self, call: &Call) -> Evidence<WaitObject> {
        match call.about {
            About::Word {
                expects,
                shared,
                inherits_priority,
            } => {
                let mut name = String::new();
                if shared {
                    name += "shared, ";
                }
                if inherits_priority {
                    name += "priority inheritance";
                } else {
                    let _ = write!(name, "expects {expects}");
                }
                Ok(self.object("futex_word", None, &name))
            }
            About::Words { array, count } => self.words(array, count),
            About::File(fd) => self.file(fd),
            About::MessageQueue(fd) => {
                let queue = self.file(fd)?;
                Ok(WaitObject {
                    kind: "message_queue",
                    ..queue
                })
            }
            About::FileLock(fd) => {
                let file = self.file(fd)?;
                let name = format!("lock on {}", file.name);
                Ok(self.object(file.kind, Some(fd), &name))
            }
            About::PollList { array, count } => self.poll_list(array, count),
            About::FdSets { count, sets } => self.fd_sets(count, sets),
            About::Time => {
                let limit = match limit_of(call, self.thread) {
                    Ok(limit) => limit.words,
                    // poll without files and without a time-out.
                    Err(Unknown::NoObject) => "for ever".to_owned(),
                    Err(why) => return Err(why),
                };
                Ok(self.object("timer", None, &limit))
            }
            About::Child(which) => self.child(which),
            About::VforkChild => {
                let name = match self.newest_child() {
                    Some(child) => self.named_process("vfork child", child),
                    None => "vfork child".to_owned(),
                };
                Ok(self.object("process", None, &name))
            }
            About::Signals { set } => {
                let names = match (set, self.depth) {
                    (Some(at), Depth::Whole) => {
                        let mut bytes = [0; 8];
                        memory(self.thread, at, &mut bytes)?;
                        signals(u64::from_ne_bytes(bytes))
                    }
                    (Some(_), Depth::Row) => "one of a set of signals".to_owned(),
                    (None, _) => "any signal".to_owned(),
                };
                Ok(self.object("signal", None, &names))
            }
            About::SystemVQueue(id) => Ok(self.object("message_queue", None, &format!("System V queue {id}"))),
            About::SystemVSemaphores(id) => Ok(self.object("semaphore", None, &format!("System V set {id}"))),
            About::Path(at) => {
                let path = self.text(at)?;
                Ok(self.object("file", None, &path))
            }
            About::Nothing => Err(Unknown::NoObject),
        }
    }

    fn object(&self, kind: &'static str, fd: Option<u32>, name: &str) -> WaitObject {
        let most = match self.depth {
            Depth::Row => ROW_NAME,
            Depth::Whole => WHOLE_NAME,
        };
        let mut end = name.len();
        if end > most {
            end = (0..=most).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        }
        WaitObject {
            kind,
            fd,
            name: Arc::from(&name[..end]),
        }
    }

    fn file(&mut self, fd: u32) -> Evidence<WaitObject> {
        let thread = self.thread;
        let link = match open_file::link(thread.task, thread.tid.0, fd) {
            Ok(Some(link)) => link,
            Ok(None) if thread.root.is_captured() => return Err(Unknown::NotCaptured),
            // The call goes on with the file it began with, which has no number any more.
            Ok(None) => return Ok(self.object("other", Some(fd), "closed meanwhile")),
            Err(error) => return Err(refusal(thread.root, &error)),
        };
        let (kind, name) = match open_file::parse_link(&link) {
            Link::Socket(inode) => ("socket", self.socket(inode)),
            Link::Pipe(inode) => ("pipe", format!("pipe:[{inode}]")),
            Link::Anonymous(name) => self.anonymous(fd, name),
            Link::Path(path) => {
                let is_pipe = |name: &str| name.contains("pipe_") || name.contains("fifo");
                let kind = if path.starts_with(b"/dev/pts/")
                    || path.starts_with(b"/dev/tty")
                    || path == b"/dev/console"
                    || path == b"/dev/ptmx"
                {
                    "terminal"
                } else if path.starts_with(b"/dev/") && !path.starts_with(b"/dev/shm/") {
                    "device"
                } else if thread.function.is_some_and(is_pipe) {
                    "pipe"
                } else {
                    "file"
                };
                (kind, String::from_utf8_lossy(path).into_owned())
            }
        };
        Ok(self.object(kind, Some(fd), &name))
    }

    fn anonymous(&mut self, fd: u32, name: &[u8]) -> (&'static str, String) {
        let kind = match name {
            b"eventpoll" => "epoll",
            b"eventfd" => "eventfd",
            b"timerfd" => "timerfd",
            b"signalfd" => "signalfd",
            b"inotify" | b"[fanotify]" | b"fanotify" => "inotify",
            b"pidfd" => "process",
            _ => "other",
        };
        let mut text = String::from_utf8_lossy(name).into_owned();
        // In a row only what tells one of them from the other.
        if kind == "other" || (self.depth == Depth::Row && !matches!(kind, "epoll" | "process")) {
            return (kind, text);
        }
        let Ok(Some(info)) = open_file::info(self.thread.task, self.thread.tid.0, fd) else {
            return (kind, text);
        };
        let some = if info.cut { "more than " } else { "" };
        let count = info.watched_total;
        match kind {
            "epoll" => {
                text = format!("{some}{count} {}", plural(count, "fd"));
                if self.depth == Depth::Whole {
                    self.add_files(&mut text, &info.watched, count > info.watched.len() as u32);
                }
            }
            "inotify" => text = format!("{text}, {some}{count} {}", plural(count, "watch")),
            "eventfd" => {
                if let Some(count) = info.event_count {
                    let _ = write!(text, ", count {count}");
                }
            }
            "timerfd" => {
                if let Some(timer) = info.timer {
                    text = timerfd(timer);
                }
            }
            "signalfd" => {
                if let Some(set) = info.signals {
                    text = signals(set);
                }
            }
            _ => match info.process {
                Some(pid @ 1..) => {
                    text = self.named_process("process", pid as u32);
                }
                Some(-1) => "a process that has ended".clone_into(&mut text),
                _ => {}
            },
        }
        (kind, text)
    }

    fn socket(&mut self, inode: u64) -> String {
        let unresolved = format!("socket:[{inode}]");
        if self.thread.root.is_captured() && self.depth == Depth::Row {
            return unresolved;
        }
        match self.book.find(self.thread, inode, self.depth) {
            Some(Ok(Some((tables, socket)))) => in_words(socket, tables),
            // Of another family, or neither bound nor connected.
            Some(Ok(None) | Err(_)) => unresolved,
            None => {
                self.complete = false;
                unresolved
            }
        }
    }

    /// `5 pipe:[77], 7 tcp …`, the first few.
    fn add_files(&mut self, text: &mut String, fds: &[u32], more: bool) {
        for (at, fd) in fds.iter().take(NAMED).enumerate() {
            text.push_str(if at == 0 { ": " } else { ", " });
            // Nested epolls would name each other without end.
            let depth = std::mem::replace(&mut self.depth, Depth::Row);
            match self.file(*fd) {
                Ok(object) => {
                    let _ = write!(text, "{fd} {}", object.name);
                }
                Err(_) => {
                    let _ = write!(text, "{fd}");
                }
            }
            self.depth = depth;
        }
        if more || fds.len() > NAMED {
            text.push_str(", …");
        }
    }

    fn poll_list(&mut self, array: u64, count: u32) -> Evidence<WaitObject> {
        let summary = format!("{count} {}", plural(count, "fd"));
        if self.depth == Depth::Row && count > 1 {
            return Ok(self.object("files", None, &summary));
        }
        let looked_at = count.min(LOOKED_AT);
        let mut bytes = vec![0; looked_at as usize * 8];
        memory(self.thread, array, &mut bytes)?;
        // `struct pollfd`: a number, events, and what happened. Entries below 0 are switched off.
        let fds: Vec<u32> = bytes
            .chunks_exact(8)
            .filter_map(|entry| u32::try_from(i32::from_ne_bytes(entry[..4].try_into().ok()?)).ok())
            .collect();
        if count == 1
            && let [fd] = *fds
        {
            return self.file(fd);
        }
        let mut text = summary;
        self.add_files(&mut text, &fds, count > looked_at);
        Ok(self.object("files", None, &text))
    }

    fn fd_sets(&mut self, count: u32, sets: [u64; 3]) -> Evidence<WaitObject> {
        if self.depth == Depth::Row {
            return Ok(self.object("files", None, &format!("fds below {count}")));
        }
        let looked_at = count.min(LOOKED_AT);
        let mut any = vec![0u8; (looked_at as usize).div_ceil(8)];
        for set in sets.into_iter().filter(|set| *set != 0) {
            let mut bytes = vec![0; any.len()];
            memory(self.thread, set, &mut bytes)?;
            any.iter_mut().zip(bytes).for_each(|(all, byte)| *all |= byte);
        }
        let is_in = |fd: &u32| any[*fd as usize / 8] & (1 << (fd % 8)) != 0;
        let fds: Vec<u32> = (0..looked_at).filter(is_in).collect();
        let found = fds.len() as u32;
        let mut text = format!("{found} {}", plural(found, "fd"));
        self.add_files(&mut text, &fds, count > looked_at);
        Ok(self.object("files", None, &text))
    }

    fn words(&mut self, array: u64, count: u32) -> Evidence<WaitObject> {
        let mut text = format!("{count} {}", plural(count, "word"));
        if self.depth == Depth::Whole {
            // `struct futex_waitv`: value, address, flags, reserved; 128 at most.
            let looked_at = count.min(NAMED as u32);
            let mut bytes = vec![0; looked_at as usize * 24];
            memory(self.thread, array, &mut bytes)?;
            for (at, entry) in bytes.chunks_exact(24).enumerate() {
                text.push_str(if at == 0 { ": " } else { ", " });
                let _ = write!(text, "{:#x} expects {}", word(entry, 8), word(entry, 0));
            }
            if count > looked_at {
                text.push_str(", …");
            }
        }
        Ok(self.object("futex_word", None, &text))
    }

    fn child(&mut self, which: Which) -> Evidence<WaitObject> {
        let name = match which {
            Which::Any => "any child".to_owned(),
            Which::Process(pid) => self.named_process("child", pid),
            Which::Group(0) => "any child of its process group".to_owned(),
            Which::Group(group) => format!("any child of process group {group}"),
            Which::PidFd(fd) => {
                let file = self.file(fd)?;
                return Ok(WaitObject {
                    kind: "process",
                    ..file
                });
            }
        };
        Ok(self.object("process", None, &name))
    }

    /// With its name where it is one of the process' own children: numbers are those of the caller's pid
    /// namespace, so another process may have this one in ours.
    fn named_process(&self, what: &str, pid: u32) -> String {
        let named = || {
            if self.thread.root.is_captured() {
                return None;
            }
            let folder = file::open_dir(&self.thread.root.process(Pid(pid))).ok()??;
            let mut buffer = file::Buffer::default();
            let stat = stat::read_at(&folder, "stat", &mut buffer).ok()??;
            (stat.parent == self.thread.process.0).then(|| String::from_utf8_lossy(comm::parse(stat.name)).into_owned())
        };
        match named() {
            Some(name) => format!("{what} {pid} ({name})"),
            None => format!("{what} {pid}"),
        }
    }

    /// A vforked child is the newest that this very thread has.
    fn newest_child(&self) -> Option<u32> {
        let mut buffer = file::Buffer::default();
        let name = format!("{}/children", self.thread.tid);
        let text = file::read_at(self.thread.task, &name, &mut buffer).ok()??;
        let words = std::str::from_utf8(text).ok()?;
        words.split_ascii_whitespace().next_back()?.parse().ok()
    }

    /// A text that ends with a zero.
    fn text(&self, at: u64) -> Evidence<String> {
        const PAGE: u64 = 4096;
        let mut bytes = Vec::new();
        // Up to the end of each page: what comes after it may not be mapped.
        let mut next = at;
        while bytes.len() < ROW_NAME {
            let room = (PAGE - next % PAGE).min(ROW_NAME as u64);
            let mut part = vec![0; room as usize];
            match memory(self.thread, next, &mut part) {
                Ok(()) => {}
                Err(why) if bytes.is_empty() => return Err(why),
                Err(_) => break,
            }
            let end = part.iter().position(|byte| *byte == 0);
            bytes.extend_from_slice(&part[..end.unwrap_or(part.len())]);
            if end.is_some() {
                break;
            }
            next = next.saturating_add(room);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn plural(count: u32, word: &str) -> String {
    match (count, word) {
        (1, word) => word.to_owned(),
        (_, "watch") => "watches".to_owned(),
        (_, word) => format!("{word}s"),
    }
}

fn signals(set: u64) -> String {
    let names = SignalSet(set).names();
    match &names[..] {
        [] => "no signal".to_owned(),
        few @ ([_] | [_, _] | [_, _, _] | [_, _, _, _]) => few.join(", "),
        all => format!("{}, … ({} signals)", all[..NAMED].join(", "), all.len()),
    }
}

fn timerfd(timer: open_file::Timer) -> String {
    if timer.left_ns == 0 {
        return "timerfd, disarmed".to_owned();
    }
    let span = |nanos: u64| {
        let words = time_limit::span(i128::from(nanos), Clock::Monotonic).words;
        words.strip_prefix("for ").map_or(words.clone(), str::to_owned)
    };
    let mut text = format!("timerfd, in {}", span(timer.left_ns));
    if timer.interval_ns != 0 {
        let _ = write!(text, ", then every {}", span(timer.interval_ns));
    }
    text
}

/// `tcp 127.0.0.1:5432 <- 127.0.0.1:40112`: the arrow leads from whoever connected.
fn in_words(socket: &Socket, tables: &Sockets) -> String {
    match socket {
        Socket::Inet {
            protocol,
            local,
            remote,
            state,
        } => match state {
            InetState::Listening => format!("{protocol} {local} listening"),
            InetState::Connecting => format!("{protocol} {local} -> {remote} connecting"),
            InetState::Established if tables.is_served_at(*local) => format!("{protocol} {local} <- {remote}"),
            InetState::Established => format!("{protocol} {local} -> {remote}"),
            InetState::Other if remote.port() == 0 => format!("{protocol} {local}"),
            InetState::Other => format!("{protocol} {local} - {remote} closing"),
        },
        Socket::Unix { style, listening, path } => {
            let path = path.as_deref().map_or("without a name".into(), String::from_utf8_lossy);
            let listening = if *listening { " listening" } else { "" };
            format!("unix {style} {path}{listening}")
        }
        Socket::Netlink => "netlink".to_owned(),
    }
}

/// Memory of the thread's process. Its pid would not do: a main thread that has gone has no memory.
fn memory(thread: &Thread<'_>, at: u64, into: &mut [u8]) -> Evidence<()> {
    if thread.root.is_captured() {
        return Err(Unknown::NotCaptured);
    }
    match process_vm::read(Pid(thread.tid.0), at, into) {
        Ok(length) if length == into.len() => Ok(()),
        Ok(_) => Err(Unknown::Unreadable),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::EPERM) => Unknown::PtraceDenied,
            Some(libc::ESRCH) => Unknown::Gone,
            _ => Unknown::Unreadable,
        }),
    }
}

fn word(bytes: &[u8], at: usize) -> i64 {
    let eight = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
    i64::from_ne_bytes(eight.unwrap_or_default())
}

fn refusal(root: &ProcRoot, error: &io::Error) -> Unknown {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Unknown::Denied,
        io::ErrorKind::NotFound if root.is_captured() => Unknown::NotCaptured,
        io::ErrorKind::NotFound => Unknown::Gone,
        _ => Unknown::Unreadable,
    }
}
