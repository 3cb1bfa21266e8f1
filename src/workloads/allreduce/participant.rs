//! A participant that is a process of its own: the same programs over Unix sockets or TCP.
//!
//! Everyone is connected with everyone, by two streams: *data* carries the rows' elements, and
//! *control* carries short notes about who waits for whom. The exchange is one loop that never
//! blocks in a read or a write: it sends what may be sent, takes what has come, combines whole
//! elements as they come in, and only when neither moves lies down in `poll` on all its sockets.
//! So two that send each other large chunks both keep reading, and sending, receiving and reducing
//! overlap segment by segment.
//!
//! What may be sent follows from the program: elements that are received in an earlier step are
//! sent once they have come and are combined; elements sent in an earlier step are written over
//! once they are with the kernel. Step by step that can always go on, since each waits only for
//! earlier steps.
//!
//! Nobody hangs, and the right one is named:
//! - A participant that ends closes its streams. Whoever sees that of a control stream without the
//!   note `Done` names it.
//! - A participant that has waited for a quarter of the deadline notes so to all: `Waiting`, with
//!   the rank it waits for; and again for as long as it waits. At the deadline, one follows these
//!   notes from the rank it waits for itself to one that has not said that it waits: that one is
//!   late. A note that was not repeated for half the deadline is of no worth: who is stopped does
//!   not repeat it.
//! - Whoever names a rank tells all others with the note `Failed`, and they name the same.
//!
//! The time counts from the last byte that moved, so a long exchange is none that stalls.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::digest::Digest;
use crate::stopwatch::Stopwatch;

use super::combine::{combine, divide};
use super::failure::Failure;
use super::plan::{Algorithm, Op, Step, Take, program};
use super::value::{Value, bytes, bytes_mut, values};

/// A byte stream to another process.
pub trait Stream: Read + Write + AsFd {
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        UnixStream::set_nonblocking(self, nonblocking)
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        UnixStream::set_read_timeout(self, timeout)
    }
}

impl Stream for TcpStream {
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        TcpStream::set_nonblocking(self, nonblocking)
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        TcpStream::set_read_timeout(self, timeout)
    }
}

/// The connection with one other participant.
#[derive(Debug)]
pub struct Link<S> {
    pub data: S,
    pub control: S,
}

/// What one participant saw of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub steps: usize,
    /// Counted as they were handed to the kernel.
    pub elements: u64,
    pub bytes: u64,
}

/// Bytes that are read or written at one go.
const SEGMENT_BYTES: usize = 256 * 1024;
/// For what the kernel holds of a stream in either direction.
const SOCKET_BYTES: usize = 1024 * 1024;
/// Between two attempts to reach someone who is not there yet.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(2);

/// One of N processes that exchange rows.
#[derive(Debug)]
pub struct Participant<S> {
    rank: usize,
    /// Of each other rank; none of our own.
    links: Vec<Option<Link<S>>>,
    notes: Vec<Notes>,
    /// Exchanges so far: everyone counts the same.
    call: u32,
    /// Received elements that are still to be combined; of f64, so that all types are aligned.
    staging: Vec<f64>,
}

/// What another rank has told of itself.
#[derive(Clone, Debug, Default)]
struct Notes {
    /// Bytes of a note that has not come whole yet.
    partial: Vec<u8>,
    /// In this exchange: for whom, and when it said so last.
    waiting: Option<(usize, usize, Stopwatch)>,
    /// The last exchange it has ended well.
    done: u32,
    failed: Option<Failure>,
    /// Why nothing more will come.
    closed: Option<String>,
    /// Why nothing more can be told to it.
    deaf: bool,
}

/// On the control stream, all of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    /// For this rank, in this step.
    Waiting(usize, usize),
    Moving,
    Done,
    Stalled(usize, usize, Duration),
    Died(usize, usize),
    Disagrees(usize),
}

const NOTE_BYTES: usize = 32;

impl Note {
    fn encode(self, call: u32) -> [u8; NOTE_BYTES] {
        let (kind, rank, step, time) = match self {
            Note::Waiting(rank, step) => (1, rank, step, Duration::ZERO),
            Note::Moving => (2, 0, 0, Duration::ZERO),
            Note::Done => (3, 0, 0, Duration::ZERO),
            Note::Stalled(rank, step, within) => (4, rank, step, within),
            Note::Died(rank, step) => (5, rank, step, Duration::ZERO),
            Note::Disagrees(rank) => (6, rank, 0, Duration::ZERO),
        };
        let mut bytes = [0; NOTE_BYTES];
        let fields = [kind, call, rank as u32, step as u32];
        for (into, field) in bytes.chunks_exact_mut(4).zip(fields) {
            into.copy_from_slice(&field.to_le_bytes());
        }
        bytes[16..24].copy_from_slice(&(time.as_nanos() as u64).to_le_bytes());
        bytes
    }

    /// With the number of the exchange it belongs to. `None` for bytes we never send.
    fn decode(bytes: &[u8]) -> Option<(u32, Note)> {
        let field = |at: usize| Some(u32::from_le_bytes(bytes.get(4 * at..4 * at + 4)?.try_into().ok()?));
        let (rank, step) = (field(2)? as usize, field(3)? as usize);
        let within = Duration::from_nanos(u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?));
        let note = match field(0)? {
            1 => Note::Waiting(rank, step),
            2 => Note::Moving,
            3 => Note::Done,
            4 => Note::Stalled(rank, step, within),
            5 => Note::Died(rank, step),
            6 => Note::Disagrees(rank),
            _ => return None,
        };
        Some((field(1)?, note))
    }
}

/// Before the elements of every message on the data stream.
const HEADER_BYTES: usize = 24;

/// What both ends must agree on: the exchange's number, the step, the length, and what is done.
fn header(call: u32, step: usize, length: usize, agreed: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&call.to_le_bytes());
    bytes[4..8].copy_from_slice(&(step as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&(length as u64).to_le_bytes());
    bytes[16..].copy_from_slice(&agreed.to_le_bytes());
    bytes
}

/// A number for the operation, its type and its length.
fn agreement<T: Value>(algorithm: Algorithm, op: Op, ranks: usize, elements: usize) -> u64 {
    let name = T::NAME.bytes().map(u64::from);
    Digest::of(
        [algorithm as u64, op as u64, ranks as u64, elements as u64]
            .into_iter()
            .chain(name),
    )
}

/// The first thing that is sent on a new stream: who we are and what the stream is for.
const GREETING_BYTES: usize = 16;
const MAGIC: [u8; 8] = *b"allreduc";

fn greeting(ranks: usize, rank: usize, control: bool) -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&(ranks as u16).to_le_bytes());
    bytes[10..12].copy_from_slice(&(rank as u16).to_le_bytes());
    bytes[12] = u8::from(control);
    bytes
}

impl Participant<UnixStream> {
    /// Meets the others in a folder, where each rank listens at `rank-R.socket`. Waits for all of
    /// them, but no longer than `within`.
    pub fn over_unix(folder: &Path, ranks: usize, rank: usize, within: Duration) -> Result<Self, Failure> {
        let place = |rank: usize| folder.join(format!("rank-{rank}.socket"));
        let own = place(rank);
        let no_place = |error: io::Error| Failure::NoPlace {
            place: own.display().to_string(),
            why: error.to_string(),
        };
        let listener = UnixListener::bind(&own).map_err(no_place)?;
        listener.set_nonblocking(true).map_err(no_place)?;
        let met = meet(
            ranks,
            rank,
            within,
            |rank| UnixStream::connect(place(rank)),
            || listener.accept().map(|(stream, _)| stream),
            listener.as_fd(),
        );
        // Everyone who should has connected, or has not in time.
        let _ = std::fs::remove_file(&own);
        Participant::new(rank, met?)
    }
}

impl Participant<TcpStream> {
    /// Meets the others on this machine: rank r listens at `ports[r]` of the loopback address.
    pub fn over_tcp(ports: &[u16], rank: usize, within: Duration) -> Result<Self, Failure> {
        let place = |rank: usize| SocketAddr::from((Ipv4Addr::LOCALHOST, ports[rank]));
        let no_place = |error: io::Error| Failure::NoPlace {
            place: place(rank).to_string(),
            why: error.to_string(),
        };
        let listener = TcpListener::bind(place(rank)).map_err(no_place)?;
        listener.set_nonblocking(true).map_err(no_place)?;
        let prompt = |stream: TcpStream| {
            // To a port where nobody listens yet, a stream may come out connected with itself.
            if stream.local_addr()? == stream.peer_addr()? {
                return Err(ErrorKind::ConnectionRefused.into());
            }
            stream.set_nodelay(true).map(|()| stream)
        };
        let met = meet(
            ports.len(),
            rank,
            within,
            |rank| TcpStream::connect(place(rank)).and_then(prompt),
            || listener.accept().and_then(|(stream, _)| prompt(stream)),
            listener.as_fd(),
        );
        Participant::new(rank, met?)
    }
}

/// Connects to all lower ranks and accepts from all higher ones, two streams each.
fn meet<S: Stream>(
    ranks: usize,
    rank: usize,
    within: Duration,
    connect: impl Fn(usize) -> io::Result<S>,
    accept: impl Fn() -> io::Result<S>,
    listener: BorrowedFd<'_>,
) -> Result<Vec<Option<Link<S>>>, Failure> {
    let since = Stopwatch::start();
    let left = || within.checked_sub(since.elapsed()).filter(|left| !left.is_zero());
    let mut met: Vec<[Option<S>; 2]> = (0..ranks).map(|_| [None, None]).collect();
    for (other, streams) in met.iter_mut().enumerate().take(rank) {
        for (control, place) in streams.iter_mut().enumerate() {
            let mut stream = loop {
                match connect(other) {
                    Ok(stream) => break stream,
                    // It does not listen yet.
                    Err(_) if left().is_some() => std::thread::sleep(BETWEEN_ATTEMPTS),
                    Err(_) => return Err(Failure::Absent { rank: other, within }),
                }
            };
            let died = |error: io::Error| Failure::Died {
                rank: other,
                step: 0,
                why: error.to_string(),
            };
            stream.write_all(&greeting(ranks, rank, control == 1)).map_err(died)?;
            *place = Some(stream);
        }
    }
    let mut missing = 2 * (ranks - rank - 1);
    while missing > 0 {
        let absent = || {
            let rank = met
                .iter()
                .enumerate()
                .position(|(other, streams)| other > rank && streams.iter().any(Option::is_none));
            Failure::Absent {
                rank: rank.unwrap_or(0),
                within,
            }
        };
        let Some(patience) = left() else {
            return Err(absent());
        };
        let Ok(mut stream) = accept() else {
            sleep_on(&mut [PollFd::new(&listener, PollFlags::IN)], patience);
            continue;
        };
        // A stranger who connects and says nothing, or something else, is let go.
        let mut bytes = [0; GREETING_BYTES];
        let heard = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(patience)))
            .and_then(|()| stream.read_exact(&mut bytes));
        let told = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        if heard.is_err() || bytes[..8] != MAGIC {
            continue;
        }
        let (theirs, other, control) = (told(8), told(10), usize::from(bytes[12] & 1));
        if theirs != ranks || other <= rank || other >= ranks {
            return Err(Failure::Disagrees {
                rank: other,
                what: format!("it is rank {other} of {theirs}, we are rank {rank} of {ranks}"),
            });
        }
        if met[other][control].replace(stream).is_some() {
            return Err(Failure::Disagrees {
                rank: other,
                what: "there are two of this rank".to_owned(),
            });
        }
        missing -= 1;
    }
    Ok(met
        .into_iter()
        .map(|[data, control]| {
            Some(Link {
                data: data?,
                control: control?,
            })
        })
        .collect())
}

/// In the kernel, until one of the sockets is as wished for, or the time is over.
fn sleep_on(sockets: &mut [PollFd<'_>], at_most: Duration) {
    let time = Timespec {
        tv_sec: at_most.as_secs() as i64,
        tv_nsec: i64::from(at_most.subsec_nanos()),
    };
    // An interruption is as good as a wake: the caller looks at everything again.
    let _ = poll(sockets, Some(&time));
}

/// How far one end of the program has come.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    step: usize,
    /// Bytes of the header that are through.
    header: usize,
    /// Bytes of the message that are through.
    bytes: usize,
}

impl<S: Stream> Participant<S> {
    /// With links that are there already: one for each other rank, `None` in our own place.
    pub fn new(rank: usize, links: Vec<Option<Link<S>>>) -> Result<Participant<S>, Failure> {
        for (other, link) in links.iter().enumerate() {
            let Some(link) = link else { continue };
            let set = link.data.set_nonblocking(true).and(link.control.set_nonblocking(true));
            set.map_err(|error| Failure::Died {
                rank: other,
                step: 0,
                why: error.to_string(),
            })?;
            // The kernel may give less, or refuse: slower, but as right.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&link.data, SOCKET_BYTES);
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&link.data, SOCKET_BYTES);
        }
        Ok(Participant {
            rank,
            notes: vec![Notes::default(); links.len()],
            links,
            call: 0,
            staging: vec![0.0; SEGMENT_BYTES / size_of::<f64>()],
        })
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    pub fn ranks(&self) -> usize {
        self.links.len()
    }

    /// Reduces everyone's `data` into everyone's `data`, the same bits everywhere and the same as
    /// [`all_reduce`](super::all_reduce) over the rows. All participants must call it with the
    /// same algorithm, operation and length. After a failure, `data` holds parts of both and the
    /// participant is of no more use.
    pub fn all_reduce<T: Value>(
        &mut self,
        data: &mut [T],
        algorithm: Algorithm,
        op: Op,
        deadline: Duration,
    ) -> Result<Sent, Failure> {
        self.call += 1;
        let ranks = self.ranks();
        let steps = program(algorithm, ranks, self.rank, data.len());
        let mut course = Progress {
            rules: Rules::of(&steps),
            steps,
            op,
            agreed: agreement::<T>(algorithm, op, ranks, data.len()),
            sending: Cursor::default(),
            receiving: Cursor::default(),
            kept: Vec::new(),
            heading: [0; HEADER_BYTES],
            staged: 0,
            sent: 0,
            size: size_of::<T>(),
        };
        if algorithm == Algorithm::Direct {
            course.kept = vec![Vec::new(); ranks];
        }
        for notes in &mut self.notes {
            notes.waiting = None;
        }
        match self.run(&mut course, data, deadline) {
            Ok(()) => {
                if algorithm == Algorithm::Direct && ranks > 1 {
                    reduce_kept(&course.kept, self.rank, data, op);
                }
                self.tell_all(Note::Done);
                Ok(Sent {
                    steps: course.steps.len(),
                    elements: (course.sent / size_of::<T>()) as u64,
                    bytes: course.sent as u64,
                })
            }
            Err(failure) => {
                match failure {
                    Failure::Stalled { rank, step, within } => self.tell_all(Note::Stalled(rank, step, within)),
                    Failure::Died { rank, step, .. } => self.tell_all(Note::Died(rank, step)),
                    Failure::Disagrees { rank, .. } => self.tell_all(Note::Disagrees(rank)),
                    _ => {}
                }
                Err(failure)
            }
        }
    }

    fn run<T: Value>(&mut self, course: &mut Progress, data: &mut [T], deadline: Duration) -> Result<(), Failure> {
        let mut idle: Option<Stopwatch> = None;
        let mut noted = Duration::ZERO;
        loop {
            let sent = self.send(course, data)?;
            let received = self.receive(course, data)?;
            if course.is_over() {
                return Ok(());
            }
            if sent || received {
                if !noted.is_zero() {
                    self.tell_all(Note::Moving);
                    noted = Duration::ZERO;
                }
                idle = None;
                continue;
            }
            let since = *idle.get_or_insert_with(Stopwatch::start);
            let waited = since.elapsed();
            let (awaited, step) = course.awaited();
            self.listen(step)?;
            if waited >= deadline {
                return Err(self.late(awaited, step, deadline));
            }
            // Four notes within the deadline, the first a quarter into it.
            if waited >= noted + deadline / 4 {
                noted = waited;
                self.tell_all(Note::Waiting(awaited, step));
            }
            let next = (noted + deadline / 4).min(deadline);
            self.sleep(course, next.saturating_sub(waited));
        }
    }

    /// Sends as much of one message as may be sent and the kernel takes. Whether that was anything.
    fn send<T: Value>(&mut self, course: &mut Progress, data: &[T]) -> Result<bool, Failure> {
        let mut moved = false;
        while let Some((peer, range)) = course.sending_now() {
            let cursor = course.sending;
            let length = range.len() * course.size;
            let ready = course.sendable();
            let heading = header(self.call, cursor.step, length, course.agreed);
            let from = if cursor.header < HEADER_BYTES {
                // Not before there is something to send behind it: it would only wake the other.
                if ready == 0 {
                    return Ok(moved);
                }
                &heading[cursor.header..]
            } else {
                let message = &bytes(&data[range])[cursor.bytes..ready];
                &message[..message.len().min(SEGMENT_BYTES)]
            };
            if from.is_empty() {
                return Ok(moved);
            }
            let stream = &mut self.link(peer).data;
            match stream.write(from) {
                Ok(count) => {
                    moved |= count > 0;
                    if cursor.header < HEADER_BYTES {
                        course.sending.header += count;
                    } else {
                        course.sending.bytes += count;
                        course.sent += count;
                        if course.sending.bytes == length {
                            course.sending = Cursor {
                                step: cursor.step + 1,
                                ..Cursor::default()
                            };
                        }
                        // Let what has come be taken in between.
                        return Ok(moved);
                    }
                }
                Err(error) if again(&error) => return Ok(moved),
                Err(error) => return Err(self.broken(peer, cursor.step, error.to_string())),
            }
        }
        Ok(moved)
    }

    /// Takes as much of one message as has come and may be written. Whether that was anything.
    fn receive<T: Value>(&mut self, course: &mut Progress, data: &mut [T]) -> Result<bool, Failure> {
        let mut moved = false;
        while let Some((peer, range, take)) = course.receiving_now() {
            let cursor = course.receiving;
            let length = range.len() * course.size;
            if cursor.header < HEADER_BYTES {
                match self.link(peer).data.read(&mut course.heading[cursor.header..]) {
                    Ok(0) => return Err(self.broken(peer, cursor.step, "closed its connection".to_owned())),
                    Ok(count) => {
                        moved = true;
                        course.receiving.header += count;
                        if course.receiving.header == HEADER_BYTES
                            && course.heading != header(self.call, cursor.step, length, course.agreed)
                        {
                            return Err(self.disagrees(peer, course, length));
                        }
                    }
                    Err(error) if again(&error) => return Ok(moved),
                    Err(error) => return Err(self.broken(peer, cursor.step, error.to_string())),
                }
                continue;
            }
            let room = course.writable();
            if room <= cursor.bytes {
                return Ok(moved);
            }
            let wanted = (room - cursor.bytes).min(SEGMENT_BYTES - course.staged);
            let Some(link) = self.links[peer].as_mut() else {
                unreachable!("a program names no message to oneself")
            };
            let read = match take {
                Take::Reduce { .. } => link
                    .data
                    .read(&mut bytes_mut(&mut self.staging)[course.staged..course.staged + wanted]),
                Take::Copy => link
                    .data
                    .read(&mut bytes_mut(&mut data[range.clone()])[cursor.bytes..cursor.bytes + wanted]),
                Take::Keep => {
                    // Grown as it comes.
                    let kept = &mut course.kept[peer];
                    kept.resize(cursor.bytes + wanted, 0);
                    link.data.read(&mut kept[cursor.bytes..])
                }
            };
            let count = match read {
                Ok(0) => return Err(self.broken(peer, cursor.step, "closed its connection".to_owned())),
                Ok(count) => count,
                Err(error) if again(&error) => return Ok(moved),
                Err(error) => return Err(self.broken(peer, cursor.step, error.to_string())),
            };
            moved = true;
            if let Take::Reduce { last } = take {
                let had = course.staged + count;
                let whole = had / course.size;
                // The elements that were begun before this read begin where the staged bytes do.
                let first = range.start + (cursor.bytes - course.staged) / course.size;
                let ours = &mut data[first..first + whole];
                reduce_bytes(course.op, ours, &bytes(&self.staging)[..whole * course.size]);
                if last && course.op == Op::Mean {
                    divide(ours, self.links.len());
                }
                bytes_mut(&mut self.staging).copy_within(whole * course.size..had, 0);
                course.staged = had - whole * course.size;
            }
            course.receiving.bytes += count;
            if course.receiving.bytes == length {
                course.receiving = Cursor {
                    step: cursor.step + 1,
                    ..Cursor::default()
                };
            }
            // Let what may go now be sent in between.
            return Ok(moved);
        }
        Ok(moved)
    }

    fn link(&mut self, rank: usize) -> &mut Link<S> {
        match &mut self.links[rank] {
            Some(link) => link,
            None => unreachable!("a program names no message to oneself"),
        }
    }

    /// Reads all notes that have come. An error when one of them, or an end, concerns us all.
    fn listen(&mut self, step: usize) -> Result<(), Failure> {
        for rank in 0..self.links.len() {
            self.hear(rank);
        }
        // Someone's judgement first: who fails for another's sake closes its streams too.
        if let Some(failure) = self.notes.iter().find_map(|notes| notes.failed.clone()) {
            return Err(failure);
        }
        for (rank, notes) in self.notes.iter().enumerate() {
            if let Some(why) = notes.closed.as_ref().filter(|_| notes.done < self.call) {
                return Err(Failure::Died {
                    rank,
                    step,
                    why: why.clone(),
                });
            }
        }
        Ok(())
    }

    fn hear(&mut self, rank: usize) {
        let (call, ranks) = (self.call, self.links.len());
        let Some(link) = &mut self.links[rank] else { return };
        let notes = &mut self.notes[rank];
        let mut bytes = [0; 16 * NOTE_BYTES];
        while notes.closed.is_none() {
            match link.control.read(&mut bytes) {
                Ok(0) => notes.closed = Some("closed its connection".to_owned()),
                Ok(count) => notes.partial.extend_from_slice(&bytes[..count]),
                Err(error) if again(&error) => break,
                Err(error) => notes.closed = Some(error.to_string()),
            }
        }
        let whole = notes.partial.len() / NOTE_BYTES * NOTE_BYTES;
        let told: Vec<u8> = notes.partial.drain(..whole).collect();
        for note in told.chunks_exact(NOTE_BYTES) {
            match Note::decode(note) {
                // Of an exchange that is over for us.
                Some((then, Note::Waiting(..))) if then < call => {}
                Some((
                    _,
                    Note::Waiting(other, _) | Note::Stalled(other, ..) | Note::Died(other, _) | Note::Disagrees(other),
                )) if other >= ranks => {
                    notes.closed = Some(format!("spoke of a rank {other}, which there is not"));
                }
                Some((_, Note::Waiting(awaited, step))) => {
                    notes.waiting = Some((awaited, step, Stopwatch::start()));
                }
                Some((_, Note::Moving)) => notes.waiting = None,
                Some((then, Note::Done)) => {
                    notes.done = then;
                    notes.waiting = None;
                }
                Some((_, Note::Stalled(rank, step, within))) => {
                    notes.failed = Some(Failure::Stalled { rank, step, within });
                }
                Some((_, Note::Died(died, step))) => {
                    notes.failed = Some(Failure::Died {
                        rank: died,
                        step,
                        why: format!("as rank {rank} saw"),
                    });
                }
                Some((_, Note::Disagrees(other))) => {
                    notes.failed = Some(Failure::Disagrees {
                        rank: other,
                        what: format!("as rank {rank} saw"),
                    });
                }
                None => notes.closed = Some("sent a note that no participant sends".to_owned()),
            }
        }
    }

    /// As far as they can take it: a note is lost on one that reads none.
    fn tell_all(&mut self, note: Note) {
        let bytes = note.encode(self.call);
        for (link, notes) in self.links.iter_mut().zip(&mut self.notes) {
            let Some(link) = link else { continue };
            if notes.deaf {
                continue;
            }
            match link.control.write(&bytes) {
                Ok(NOTE_BYTES) => {}
                // Half a note would spoil all that follow.
                Ok(_) => notes.deaf = true,
                Err(error) if again(&error) => {}
                Err(_) => notes.deaf = true,
            }
        }
    }

    /// Someone's stream is at its end. For another's sake, perhaps: then it has said so.
    fn broken(&mut self, rank: usize, step: usize, why: String) -> Failure {
        match self.listen(step) {
            Err(failure) => failure,
            Ok(()) => Failure::Died { rank, step, why },
        }
    }

    fn disagrees(&self, rank: usize, course: &Progress, length: usize) -> Failure {
        let field = |range: Range<usize>| {
            let mut bytes = [0; 8];
            bytes[..range.len()].copy_from_slice(&course.heading[range]);
            u64::from_le_bytes(bytes)
        };
        let (call, step, theirs) = (field(0..4), field(4..8), field(8..16));
        Failure::Disagrees {
            rank,
            what: format!(
                "it is at step {step} of exchange {call} and sends {theirs} bytes, we are at step {} of exchange {} \
                 and expect {length} bytes",
                course.receiving.step, self.call
            ),
        }
    }

    /// The deadline is over: who is at the end of the waits, beginning with the one we wait for.
    fn late(&self, awaited: usize, step: usize, deadline: Duration) -> Failure {
        let (mut rank, mut step) = (awaited, step);
        for _ in 0..self.links.len() {
            match &self.notes[rank].waiting {
                // Of ourselves nobody waits for long: we move whenever we can.
                Some((next, at, said)) if said.elapsed() <= deadline / 2 && *next != self.rank => {
                    (rank, step) = (*next, *at);
                }
                _ => break,
            }
        }
        Failure::Stalled {
            rank,
            step,
            within: deadline,
        }
    }

    /// Until a socket may be read or written that matters now.
    fn sleep(&self, course: &Progress, at_most: Duration) {
        let (source, target) = (course.may_receive_from(), course.may_send_to());
        let mut sockets = Vec::with_capacity(2 * self.links.len());
        for (rank, link) in self.links.iter().enumerate() {
            let Some(link) = link else { continue };
            let mut wished = PollFlags::empty();
            wished.set(PollFlags::IN, source == Some(rank));
            wished.set(PollFlags::OUT, target == Some(rank));
            if !wished.is_empty() {
                sockets.push(PollFd::new(&link.data, wished));
            }
            // One that is at its end would wake us for ever.
            if self.notes[rank].closed.is_none() {
                sockets.push(PollFd::new(&link.control, PollFlags::IN));
            }
        }
        sleep_on(&mut sockets, at_most);
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Where an exchange stands.
struct Progress {
    steps: Vec<Step>,
    rules: Rules,
    op: Op,
    agreed: u64,
    sending: Cursor,
    receiving: Cursor,
    /// For [`Take::Keep`]: the rows of the others, as bytes.
    kept: Vec<Vec<u8>>,
    heading: [u8; HEADER_BYTES],
    /// Bytes of an element that has not come whole.
    staged: usize,
    sent: usize,
    size: usize,
}

/// For each step, the earlier ones that it must not overtake.
struct Rules {
    /// Of a send: receives whose elements it sends.
    before_send: Vec<Vec<usize>>,
    /// Of a receive: sends whose elements it writes over.
    before_receive: Vec<Vec<usize>>,
}

impl Rules {
    fn of(steps: &[Step]) -> Rules {
        let meet = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        let received = |step: &Step| {
            step.receive
                .as_ref()
                .filter(|(_, take)| *take != Take::Keep)
                .map(|(from, _)| from.range.clone())
        };
        let sent = |step: &Step| step.send.as_ref().map(|send| send.range.clone());
        let earlier = |at: usize, own: Option<Range<usize>>, theirs: &dyn Fn(&Step) -> Option<Range<usize>>| {
            let Some(own) = own else { return Vec::new() };
            (0..at)
                .filter(|earlier| theirs(&steps[*earlier]).is_some_and(|range| meet(&own, &range)))
                .collect()
        };
        Rules {
            before_send: (0..steps.len())
                .map(|at| earlier(at, sent(&steps[at]), &received))
                .collect(),
            before_receive: (0..steps.len())
                .map(|at| earlier(at, received(&steps[at]), &sent))
                .collect(),
        }
    }
}

impl Progress {
    fn is_over(&mut self) -> bool {
        self.sending_now().is_none() && self.receiving_now().is_none()
    }

    /// The message that is being sent, past the steps that send none.
    fn sending_now(&mut self) -> Option<(usize, Range<usize>)> {
        while self.steps.get(self.sending.step)?.send.is_none() {
            self.sending.step += 1;
        }
        let send = self.steps[self.sending.step].send.as_ref()?;
        Some((send.peer, send.range.clone()))
    }

    /// The message that is being received, past the steps that receive none.
    fn receiving_now(&mut self) -> Option<(usize, Range<usize>, Take)> {
        while self.steps.get(self.receiving.step)?.receive.is_none() {
            self.receiving.step += 1;
        }
        let (from, take) = self.steps[self.receiving.step].receive.as_ref()?;
        Some((from.peer, from.range.clone(), *take))
    }

    /// Bytes of the message in hand that are final, from its begin.
    fn sendable(&self) -> usize {
        let Some(send) = self.steps.get(self.sending.step).and_then(|step| step.send.as_ref()) else {
            return 0;
        };
        // Receives are done in order, each from its front: whole elements only.
        let received = |step: usize| {
            let (from, _) = self.steps[step].receive.as_ref()?;
            let through = (self.receiving.bytes - self.staged.min(self.receiving.bytes)) / self.size;
            Some((from.range.clone(), through))
        };
        let end = limit(
            &send.range,
            &self.rules.before_send[self.sending.step],
            self.receiving.step,
            received,
        );
        (end - send.range.start) * self.size
    }

    /// Bytes of the message in hand that may be written, from its begin.
    fn writable(&self) -> usize {
        let Some((from, take)) = self
            .steps
            .get(self.receiving.step)
            .and_then(|step| step.receive.as_ref())
        else {
            return 0;
        };
        if *take == Take::Keep {
            return from.range.len() * self.size;
        }
        let sent = |step: usize| {
            let send = self.steps[step].send.as_ref()?;
            Some((send.range.clone(), self.sending.bytes / self.size))
        };
        let end = limit(
            &from.range,
            &self.rules.before_receive[self.receiving.step],
            self.sending.step,
            sent,
        );
        (end - from.range.start) * self.size
    }

    fn may_receive_from(&self) -> Option<usize> {
        let (from, _) = self.steps.get(self.receiving.step)?.receive.as_ref()?;
        let heading = self.receiving.header < HEADER_BYTES;
        (heading || self.writable() > self.receiving.bytes).then_some(from.peer)
    }

    fn may_send_to(&self) -> Option<usize> {
        let send = self.steps.get(self.sending.step)?.send.as_ref()?;
        (self.sendable() > self.sending.bytes).then_some(send.peer)
    }

    /// For whom we wait, and in which step: the one that should send; or else the one that should
    /// take.
    fn awaited(&self) -> (usize, usize) {
        if let Some(rank) = self.may_receive_from() {
            return (rank, self.receiving.step);
        }
        let target = self.steps.get(self.sending.step).and_then(|step| step.send.as_ref());
        (target.map_or(0, |send| send.peer), self.sending.step)
    }
}

/// The end of the part of `range`, from its begin, that does not meet what is still to be done of
/// the steps `before`. `now` is the step that is being done and `through` tells a step's range and
/// how many elements of it are done if it is that one.
fn limit(
    range: &Range<usize>,
    before: &[usize],
    now: usize,
    through: impl Fn(usize) -> Option<(Range<usize>, usize)>,
) -> usize {
    let mut end = range.end;
    for &step in before {
        if step < now {
            continue;
        }
        let Some((other, done)) = through(step) else { continue };
        let done = if step == now { other.start + done } else { other.start };
        // From `done` on, its elements are not to be touched yet.
        if done < other.end {
            end = end.min(done.max(range.start));
        }
    }
    end
}

/// ours\[i\] = ours\[i\] op the i-th element in `theirs`.
fn reduce_bytes<T: Value>(op: Op, ours: &mut [T], theirs: &[u8]) {
    if let Some(theirs) = values(theirs) {
        combine(op, ours, theirs);
        return;
    }
    // Not aligned: in parts that stay in the first-level cache.
    let mut aligned = [T::default(); 512];
    for (ours, theirs) in ours.chunks_mut(512).zip(theirs.chunks(512 * size_of::<T>())) {
        let aligned = &mut aligned[..ours.len()];
        bytes_mut(aligned).copy_from_slice(theirs);
        combine(op, ours, aligned);
    }
}

/// All rows in the order of ranks; ours is in `data`.
fn reduce_kept<T: Value>(kept: &[Vec<u8>], rank: usize, data: &mut [T], op: Op) {
    let own = data.to_vec();
    for (from, theirs) in kept.iter().enumerate() {
        let theirs = if from == rank { bytes(&own) } else { theirs };
        if from == 0 {
            bytes_mut(data).copy_from_slice(theirs);
        } else {
            reduce_bytes(op, data, theirs);
        }
    }
    if op == Op::Mean {
        divide(data, kept.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allreduce::oracle::by_definition;
    use crate::allreduce::traffic;
    use crate::linear::bf16;
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn mesh(ranks: usize) -> Vec<Participant<UnixStream>> {
        let mut links: Vec<Vec<Option<Link<UnixStream>>>> = Vec::new();
        for rank in 0..ranks {
            // The other ends of pairs with all lower ranks.
            let mut row: Vec<Option<Link<UnixStream>>> = Vec::new();
            for lower in &mut links {
                let (data, control) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
                lower.push(Some(Link {
                    data: data.0,
                    control: control.0,
                }));
                row.push(Some(Link {
                    data: data.1,
                    control: control.1,
                }));
            }
            row.push(None);
            links.push(row);
            assert!(links.iter().all(|links| links.len() == rank + 1));
        }
        let made = links.into_iter().enumerate();
        made.map(|(rank, links)| Participant::new(rank, links).unwrap())
            .collect()
    }

    /// Each participant on a thread of its own; what each of them gave back.
    fn all<R: Send>(
        participants: Vec<Participant<UnixStream>>,
        body: impl Fn(Participant<UnixStream>) -> R + Sync,
    ) -> Vec<R> {
        thread::scope(|scope| {
            let body = &body;
            let threads: Vec<_> = participants
                .into_iter()
                .map(|participant| scope.spawn(move || body(participant)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn rows<T: Value>(ranks: usize, elements: usize) -> Vec<Vec<T>> {
        (0..ranks)
            .map(|rank| {
                (0..elements)
                    .map(|at| T::of(((rank * 31 + at * 17) % 97) as f64 / 7.0 - 5.0))
                    .collect()
            })
            .collect()
    }

    fn check<T: Value>(ranks: usize, elements: usize, algorithm: Algorithm, op: Op) {
        let rows = rows::<T>(ranks, elements);
        let bits = |row: &[T]| row.iter().map(|value| value.bits()).collect::<Vec<_>>();
        let expected = bits(&by_definition(&rows, algorithm, op));
        let traffic = traffic(algorithm, ranks, elements);
        all(mesh(ranks), |mut participant| {
            // Twice over the same streams.
            for _ in 0..2 {
                let rank = participant.rank();
                let mut data = rows[rank].clone();
                let sent = participant.all_reduce(&mut data, algorithm, op, PATIENCE).unwrap();
                assert_eq!(bits(&data), expected, "{algorithm:?} {op:?} {ranks} {elements}");
                assert_eq!(sent.elements, traffic.sent_elements[rank]);
                assert_eq!(sent.bytes, sent.elements * size_of::<T>() as u64);
                assert_eq!(sent.steps, traffic.steps);
            }
        });
    }

    #[test]
    fn streams_give_the_bits_of_the_definition_and_send_what_the_program_says() {
        for algorithm in Algorithm::ALL {
            for ranks in 1..=6 {
                for elements in [0, 1, 5, 1000] {
                    check::<f32>(ranks, elements, algorithm, Op::Sum);
                }
                check::<bf16>(ranks, 777, algorithm, Op::Mean);
                check::<f64>(ranks, 777, algorithm, Op::Max);
                check::<f64>(ranks, 50, algorithm, Op::Prod);
                check::<f32>(ranks, 50, algorithm, Op::Min);
            }
            // More than the kernel holds of a stream, in both directions at once.
            check::<f32>(2, 3_000_001, algorithm, Op::Sum);
            check::<bf16>(3, 2_000_003, algorithm, Op::Sum);
        }
    }

    #[test]
    fn one_that_ends_is_named_by_all() {
        for algorithm in Algorithm::ALL {
            let failures = all(mesh(4), |mut participant| {
                if participant.rank() == 2 {
                    return None;
                }
                let mut data = vec![1.0_f32; 100_000];
                let ended = participant.all_reduce(&mut data, algorithm, Op::Sum, PATIENCE);
                ended.err()
            });
            for (rank, failure) in failures.iter().enumerate() {
                match failure {
                    Some(Failure::Died { rank: 2, .. }) => assert_ne!(rank, 2),
                    other => assert_eq!((rank, other), (2, &None), "{algorithm:?} {other:?}"),
                }
            }
        }
    }

    #[test]
    fn one_that_stalls_is_named_by_all_also_by_those_who_wait_for_others() {
        let deadline = Duration::from_millis(400);
        for algorithm in Algorithm::ALL {
            let failures = all(mesh(5), |mut participant| {
                if participant.rank() == 2 {
                    // Its streams stay open all the time.
                    thread::sleep(4 * deadline);
                    return None;
                }
                let mut data = vec![1.0_f32; 1_000_000];
                participant.all_reduce(&mut data, algorithm, Op::Sum, deadline).err()
            });
            for (rank, failure) in failures.into_iter().enumerate() {
                if rank != 2 {
                    let named = failure.as_ref().and_then(Failure::rank);
                    assert_eq!(named, Some(2), "{algorithm:?}: rank {rank} says {failure:?}");
                    assert!(matches!(failure, Some(Failure::Stalled { .. })), "{failure:?}");
                }
            }
        }
    }

    #[test]
    fn one_that_does_something_else_is_told_so() {
        let failures = all(mesh(2), |mut participant| {
            let mut data = vec![1.0_f32; 10 + participant.rank()];
            participant
                .all_reduce(&mut data, Algorithm::Ring, Op::Sum, PATIENCE)
                .unwrap_err()
        });
        assert!(
            failures.iter().any(|failure| failure
                .to_string()
                .contains("we are at step 0 of exchange 1 and expect")),
            "{failures:?}"
        );
        assert!(
            failures
                .iter()
                .all(|failure| matches!(failure, Failure::Disagrees { .. })),
            "{failures:?}"
        );
    }

    #[test]
    fn a_note_comes_out_as_it_went_in() {
        for note in [
            Note::Waiting(3, 9),
            Note::Moving,
            Note::Done,
            Note::Stalled(63, 126, Duration::from_millis(1500)),
            Note::Died(1, 0),
            Note::Disagrees(2),
        ] {
            assert_eq!(Note::decode(&note.encode(7)), Some((7, note)));
        }
        assert_eq!(Note::decode(&[0; NOTE_BYTES]), None);
        assert_eq!(Note::decode(&[1; 5]), None);
    }

    #[test]
    fn processes_meet_in_a_folder_or_at_ports_and_the_absent_is_named() {
        let folder = std::env::temp_dir().join(format!("allreduce-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let sums: Vec<f64> = thread::scope(|scope| {
            let folder = &folder;
            let threads: Vec<_> = (0..3)
                .map(|rank| {
                    scope.spawn(move || {
                        let mut participant = Participant::over_unix(folder, 3, rank, PATIENCE).unwrap();
                        let mut data = [rank as f64];
                        participant
                            .all_reduce(&mut data, Algorithm::Tree, Op::Sum, PATIENCE)
                            .unwrap();
                        data[0]
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(sums, [3.0; 3]);
        let absent = Participant::over_unix(&folder, 2, 0, Duration::from_millis(50)).unwrap_err();
        assert_eq!(absent.to_string(), "rank 1 did not connect within 50ms");
        let absent = Participant::over_unix(&folder, 2, 1, Duration::from_millis(50)).unwrap_err();
        assert_eq!(absent.to_string(), "rank 0 did not connect within 50ms");
        std::fs::remove_dir_all(&folder).unwrap();

        // Ports that were free a moment ago.
        let free: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = free
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        drop(free);
        let sums: Vec<f32> = thread::scope(|scope| {
            let ports = &ports;
            let threads: Vec<_> = (0..2)
                .map(|rank| {
                    scope.spawn(move || {
                        let mut participant = Participant::over_tcp(ports, rank, PATIENCE).unwrap();
                        let mut data = vec![rank as f32; 1_000_000];
                        participant
                            .all_reduce(&mut data, Algorithm::Ring, Op::Sum, PATIENCE)
                            .unwrap();
                        data[999_999]
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(sums, [1.0; 2]);
    }
}
