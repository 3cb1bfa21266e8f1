//! Stops one thread for a moment, because that was asked for: PTRACE_SEIZE, INTERRUPT, look, detach.
//!
//! The stop is made on a thread of its own, the *tracer*, which only stops, reads registers and lets go.
//! The bytes of the stack are read by whoever asked, while the tracer waits for that until the deadline and
//! not longer: should the reading hang (memory behind a dead file server), the target runs on all the same.
//! When the tracer ends, for whatever reason, the kernel lets go of its tracee: see `kernel::ptrace`.
//!
//! Left alone: threads that are stopped or traced already, the threads of our own process (which nobody in
//! it can trace), and the main threads of our own children: a stop of theirs would be news for whoever in
//! our process waits for that child's end.
//!
//! A system call that the thread was in may end with EINTR because of it. Nothing else of it changes: signals
//! that arrive meanwhile are delivered, and a job-control stop goes on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Caught, Registers};
use crate::kernel::ptrace::{Seized, Stop};
use crate::kernel::registers::UserRegisters;
use crate::kernel::{ProcRoot, process_vm, stat};
use crate::model::{Evidence, Pid, ThreadKey, Ticks, Unknown};
use crate::observe::glance;

/// Beyond the deadline, for what the kernel may do before it answers to a SEIZE (an exec in the target makes
/// it wait). A tracer that is slower than that is left to itself.
const SLACK: Duration = Duration::from_millis(200);
/// As many tracers may live at a time: more means that some hang in the kernel.
const MOST_TRACERS: usize = 16;
static TRACERS: AtomicUsize = AtomicUsize::new(0);

impl From<UserRegisters> for Registers {
    fn from(user: UserRegisters) -> Registers {
        Registers {
            program_counter: user.program_counter,
            stack_pointer: user.stack_pointer,
            frame_pointer: Some(user.frame_pointer),
            link: user.link,
        }
    }
}

/// Registers and stack bytes of one thread while it was stopped, for `deadline` at most. A thread that is
/// already stopped or traced is left alone.
pub(super) fn catch(thread: ThreadKey, deadline: Duration, stack_bytes: usize) -> Evidence<Caught> {
    catch_and(thread, deadline, |registers| {
        let mut stack = vec![0; stack_bytes];
        let copied = process_vm::read(thread.process.pid, registers.stack_pointer, &mut stack).unwrap_or(0);
        stack.truncate(copied);
        stack
    })
}

/// `read` is called by this thread while that one is stopped, and is too late when the deadline passes in it.
fn catch_and(thread: ThreadKey, deadline: Duration, read: impl FnOnce(&UserRegisters) -> Vec<u8>) -> Evidence<Caught> {
    let root = ProcRoot::live();
    leave_alone(&root, thread)?;
    let place = Place::take().ok_or(Unknown::Late)?;
    let (stopped, found) = mpsc::channel();
    let (done, until_read) = mpsc::channel::<()>();
    let tracer = std::thread::Builder::new()
        .name("pause".to_owned())
        .stack_size(256 << 10)
        .spawn(move || -> Evidence<()> {
            let _place = place;
            let until = Instant::now() + deadline;
            let denied = |error: std::io::Error| refusal(&root, thread, &error);
            let mut seized = Seized::seize(thread.tid).map_err(denied)?;
            // It is ours now, so its id goes to no other thread; until now it may have.
            if start_of(&root, thread)? != thread.start {
                return Err(Unknown::Gone);
            }
            match seized.interrupt(until).map_err(denied)? {
                Stop::Interrupted | Stop::Signal(_) => {}
                Stop::Group => return Err(Unknown::Stopped),
                Stop::Ended => return Err(Unknown::Gone),
                Stop::Late => return Err(Unknown::Late),
            }
            let registers = seized.registers().map_err(denied)?.ok_or(Unknown::ForeignCode)?;
            let _ = stopped.send(registers);
            match until_read.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => Err(Unknown::Late),
                // The reader is done: it drops its end.
                Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(()),
            }
        })
        .map_err(|_| Unknown::Late)?;
    let ended = |tracer: std::thread::JoinHandle<Evidence<()>>| tracer.join().unwrap_or(Err(Unknown::Late));
    match found.recv_timeout(deadline + SLACK) {
        Ok(registers) => {
            let stack = read(&registers);
            drop(done);
            // It has only to let go: when we answer, the thread runs again.
            ended(tracer)?;
            Ok(Caught {
                registers: registers.into(),
                stack,
            })
        }
        Err(RecvTimeoutError::Disconnected) => Err(ended(tracer).err().unwrap_or(Unknown::Late)),
        // It hangs in the kernel: it keeps its place until it is through.
        Err(RecvTimeoutError::Timeout) => Err(Unknown::Late),
    }
}

/// Whether a thread may be stopped. It is taken and let go without a stop.
pub(in crate::observe) fn may_pause(thread: ThreadKey) -> Evidence<()> {
    let root = ProcRoot::live();
    leave_alone(&root, thread)?;
    let place = Place::take().ok_or(Unknown::Late)?;
    let (tell, told) = mpsc::channel();
    std::thread::Builder::new()
        .name("pause".to_owned())
        .stack_size(256 << 10)
        .spawn(move || {
            let _place = place;
            // It can't be detached, as it doesn't stop; the end of this thread lets go of it.
            let _ = tell.send(Seized::seize(thread.tid).map(|_| ()));
        })
        .map_err(|_| Unknown::Late)?;
    match told.recv_timeout(SLACK) {
        Ok(seized) => seized.map_err(|error| refusal(&root, thread, &error))?,
        Err(_) => return Err(Unknown::Late),
    }
    // Whoever looks next shall not find a tracer there, which would be us.
    let until = Instant::now() + SLACK;
    while tracer_of(&root, thread).is_some() && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// One of the few tracers at a time.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        // Relaxed: only the number matters.
        let before = TRACERS.fetch_add(1, Ordering::Relaxed);
        let place = Place;
        (before < MOST_TRACERS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TRACERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether this thread is one that must not be stopped, and why.
fn leave_alone(root: &ProcRoot, thread: ThreadKey) -> Evidence<()> {
    let (us, pid) = (std::process::id(), thread.process.pid);
    if pid.0 == us {
        return Err(Unknown::Ourselves);
    }
    let text = glance::small(root, &root.thread(pid, thread.tid).join("stat"))?;
    let stat = stat::parse(&text).ok_or(Unknown::Unreadable)?;
    if stat.start != thread.start {
        return Err(Unknown::Gone);
    }
    if stat.is_kernel_thread() {
        return Err(Unknown::KernelThread);
    }
    match stat.state {
        b'Z' | b'X' | b'x' => Err(Unknown::Zombie),
        b'T' => Err(Unknown::Stopped),
        b't' => Err(Unknown::TracedByOther),
        _ if tracer_of(root, thread).is_some() => Err(Unknown::TracedByOther),
        _ if stat.parent == us && thread.tid.0 == pid.0 => Err(Unknown::Ourselves),
        _ => Ok(()),
    }
}

fn start_of(root: &ProcRoot, thread: ThreadKey) -> Evidence<Ticks> {
    glance::stat(root, &root.thread(thread.process.pid, thread.tid)).map(|stat| stat.start)
}

/// The process that traces it.
fn tracer_of(root: &ProcRoot, thread: ThreadKey) -> Option<Pid> {
    let text = glance::small(root, &root.thread(thread.process.pid, thread.tid).join("status")).ok()?;
    // A line feed in the name is escaped in this file, so lines can be trusted.
    let line = text
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"TracerPid:"))?;
    let tracer = std::str::from_utf8(line).ok()?.trim().parse().ok()?;
    (tracer > 0).then_some(Pid(tracer))
}

fn refusal(root: &ProcRoot, thread: ThreadKey, error: &std::io::Error) -> Unknown {
    match error.raw_os_error() {
        Some(libc::ESRCH | libc::ECHILD) => Unknown::Gone,
        Some(libc::EPERM | libc::EACCES) => match tracer_of(root, thread) {
            Some(_) => Unknown::TracedByOther,
            None => Unknown::PtraceDenied,
        },
        // A 32-bit machine's ptrace, or a filter that says so.
        Some(libc::ENOSYS | libc::EIO) => Unknown::NoKernelSupport,
        _ => Unknown::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_of_catching::{Narrow, busy_key, key_of};
    use super::*;
    use crate::kernel::trials::{Busy, Program, state, until};
    use crate::model::Tid;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_thread_is_caught_where_it_runs_and_runs_on() {
        let busy = Busy::start();
        let caught = catch(busy_key(&busy), LONG, 16 << 10).unwrap();
        assert!(busy.spin.contains(&caught.registers.program_counter), "{caught:x?}");
        assert!(caught.registers.frame_pointer.is_some());
        let mark = 0x5eed_5eed_5eed_5eed_u64.to_ne_bytes();
        assert!(caught.stack.chunks_exact(8).any(|word| word == mark));
        assert_eq!(tracer_of(&ProcRoot::live(), busy_key(&busy)), None);
        busy.runs_on();
    }

    #[test]
    fn a_sleeping_thread_sleeps_on() {
        let asleep = Busy::asleep();
        let caught = catch(busy_key(&asleep), LONG, 4096).unwrap();
        assert!(!asleep.spin.contains(&caught.registers.program_counter));
        until("it to sleep", || asleep.state() == 'S');
        assert_eq!(asleep.signals(), 0, "pause() has not returned to count");
    }

    #[test]
    fn it_is_stopped_while_it_is_read_and_no_longer() {
        let busy = Busy::start();
        let mut seen = ' ';
        catch_and(busy_key(&busy), LONG, |_| {
            seen = busy.state();
            Vec::new()
        })
        .unwrap();
        assert_eq!(seen, 't');
        busy.runs_on();
    }

    #[test]
    fn a_reader_that_hangs_does_not_hold_it() {
        let busy = Busy::start();
        let caught = catch_and(busy_key(&busy), Duration::from_millis(30), |_| {
            // We are not done, and yet it is let go.
            busy.runs_on();
            Vec::new()
        });
        assert_eq!(caught.err(), Some(Unknown::Late));
    }

    #[test]
    fn a_reader_that_panics_does_not_hold_it() {
        let busy = Busy::start();
        let key = busy_key(&busy);
        let panicked = std::thread::spawn(move || catch_and(key, LONG, |_| panic!("on purpose"))).join();
        assert!(panicked.is_err());
        busy.runs_on();
    }

    #[test]
    fn a_tracer_that_panics_lets_go() {
        let busy = Busy::start();
        let tid = busy.tid;
        let panicked = std::thread::spawn(move || {
            let mut seized = Seized::seize(tid).unwrap();
            assert_eq!(seized.interrupt(Instant::now() + LONG).unwrap(), Stop::Interrupted);
            panic!("on purpose");
        })
        .join();
        assert!(panicked.is_err());
        busy.runs_on();
    }

    #[test]
    fn a_tracer_that_forgets_its_tracee_lets_go_when_it_ends() {
        let busy = Busy::start();
        let tid = busy.tid;
        std::thread::spawn(move || {
            let mut seized = Seized::seize(tid).unwrap();
            assert_eq!(seized.interrupt(Instant::now() + LONG).unwrap(), Stop::Interrupted);
            std::mem::forget(seized);
        })
        .join()
        .unwrap();
        busy.runs_on();
    }

    #[test]
    fn signals_that_come_meanwhile_are_delivered() {
        let busy = Busy::start();
        let real_time = libc::SIGRTMIN() + 3;
        for (sent, signal) in (1..).zip([libc::SIGUSR1, real_time].repeat(20)) {
            let caught = catch_and(busy_key(&busy), LONG, |_| {
                busy.signal(signal);
                Vec::new()
            });
            assert!(caught.is_ok());
            until("the signal", || busy.signals() == sent);
        }
    }

    #[test]
    fn a_signal_that_is_about_to_be_delivered_is_delivered() {
        let busy = Busy::start();
        let (tid, pid) = (busy.tid, busy.pid());
        for (at, signal) in [libc::SIGUSR1, libc::SIGRTMIN() + 3].into_iter().enumerate() {
            std::thread::scope(|scope| {
                let tracer = scope.spawn(|| {
                    let mut seized = Seized::seize(tid).unwrap();
                    busy.signal(signal);
                    until("the stop before delivery", || state(tid.0) == 't');
                    let stop = seized.interrupt(Instant::now() + LONG).unwrap();
                    assert_eq!(stop, Stop::Signal(signal));
                    assert!(seized.registers().unwrap().is_some());
                });
                tracer.join().unwrap();
            });
            until("the signal", || busy.signals() == at as u64 + 1);
            busy.runs_on();
        }
        assert_eq!(state(pid.0), 'S');
    }

    #[test]
    fn a_stopped_process_is_left_stopped() {
        let busy = Busy::start();
        busy.signal(libc::SIGSTOP);
        until("it to stop", || busy.state() == 'T');
        assert_eq!(catch(busy_key(&busy), LONG, 64).err(), Some(Unknown::Stopped));
        // Even when it is taken in the moment before: it stays stopped when we let go.
        let tid = busy.tid;
        std::thread::spawn(move || {
            let mut seized = Seized::seize(tid).unwrap();
            assert_eq!(seized.interrupt(Instant::now() + LONG).unwrap(), Stop::Group);
        })
        .join()
        .unwrap();
        until("it to be as before", || busy.state() == 'T');
        busy.signal(libc::SIGCONT);
        busy.runs_on();
    }

    /// Seizes the thread of its first argument, and stops it when there is a second; then says so and waits.
    const TRACER: &str = r#"
        #include <stdio.h>
        #include <stdlib.h>
        #include <unistd.h>
        #include <sys/ptrace.h>
        #include <sys/wait.h>
        int main(int argc, char **argv) {
            pid_t tid = atoi(argv[1]);
            if (ptrace(PTRACE_SEIZE, tid, 0, 0)) return 1;
            if (argc > 2) { ptrace(PTRACE_INTERRUPT, tid, 0, 0); waitpid(tid, 0, __WALL); }
            puts("traced");
            fflush(stdout);
            for (;;) pause();
        }
    "#;

    #[test]
    fn a_thread_of_another_tracer_is_left_to_it() {
        let busy = Busy::start();
        let tid = busy.tid.to_string();
        {
            let runs = Program::start("tracer", TRACER, &[&tid]);
            runs.line();
            assert_eq!(catch(busy_key(&busy), LONG, 64).err(), Some(Unknown::TracedByOther));
            assert_eq!(tracer_of(&ProcRoot::live(), busy_key(&busy)), Some(runs.pid()));
            busy.runs_on();
        }
        busy.runs_on();
        {
            let stops = Program::start("tracer", TRACER, &[&tid, "stop"]);
            stops.line();
            assert_eq!(catch(busy_key(&busy), LONG, 64).err(), Some(Unknown::TracedByOther));
            assert_eq!(busy.state(), 't', "as the other had it");
        }
        busy.runs_on();
    }

    #[test]
    fn ourselves_and_what_we_wait_for_are_not_stopped() {
        let us = Pid(std::process::id());
        let me = Tid(rustix::thread::gettid().as_raw_nonzero().get() as u32);
        assert_eq!(catch(key_of(us, me), LONG, 64).err(), Some(Unknown::Ourselves));
        let busy = Busy::asleep();
        let main = key_of(busy.pid(), Tid(busy.pid().0));
        assert_eq!(catch(main, LONG, 64).err(), Some(Unknown::Ourselves));
    }

    #[test]
    fn who_is_gone_or_another_is_gone_and_a_zombie_is_told() {
        let busy = Busy::start();
        let mut key = busy_key(&busy);
        key.start = Ticks(key.start.0 + 1);
        assert_eq!(
            catch(key, LONG, 64).err(),
            Some(Unknown::Gone),
            "another thread of that id"
        );
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid(child.id());
        until("it to end", || state(pid.0) == 'Z');
        assert_eq!(catch(key_of(pid, Tid(pid.0)), LONG, 64).err(), Some(Unknown::Zombie));
        let key = key_of(pid, Tid(pid.0));
        child.wait().unwrap();
        assert_eq!(catch(key, LONG, 64).err(), Some(Unknown::Gone));
    }

    #[test]
    fn a_target_that_is_killed_meanwhile_is_gone_and_its_end_is_there_for_its_parent() {
        let mut busy = Busy::start();
        let key = busy_key(&busy);
        let caught = catch_and(key, LONG, |_| {
            // SAFETY: no memory is involved; the process is a child of ours that was not waited for.
            assert_eq!(unsafe { libc::kill(key.process.pid.0 as i32, libc::SIGKILL) }, 0);
            Vec::new()
        });
        assert!(caught.is_ok());
        let status = busy.program.ended();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL)
        );
    }

    #[test]
    fn a_thread_that_nothing_wakes_is_late_and_let_go() {
        // A vfork parent sleeps until its child has started a program; a stop has to wait for that.
        let parent = Program::start(
            "vfork",
            r#"
            #include <stdio.h>
            #include <stdlib.h>
            #include <unistd.h>
            #include <pthread.h>
            #include <sys/syscall.h>
            static int ends[2];
            static void *work(void *unused) {
                printf("%ld %d\n", syscall(SYS_gettid), ends[1]);
                fflush(stdout);
                pid_t child = vfork();
                if (child == 0) { char byte; read(ends[0], &byte, 1); _exit(0); }
                puts("woken");
                fflush(stdout);
                return 0;
            }
            int main(void) {
                pipe(ends);
                pthread_t thread;
                pthread_create(&thread, 0, work, 0);
                pthread_join(thread, 0);
            }
            "#,
            &[],
        );
        let line = parent.line();
        let mut words = line.split_ascii_whitespace().map(|word| word.parse::<u32>().unwrap());
        let (tid, end) = (Tid(words.next().unwrap()), words.next().unwrap());
        until("vfork", || state(tid.0) == 'D');
        let key = key_of(parent.pid(), tid);
        assert_eq!(catch(key, Duration::from_millis(20), 64).err(), Some(Unknown::Late));
        until("the kernel to let go", || tracer_of(&ProcRoot::live(), key).is_none());
        // It is woken and runs on as if nothing had been.
        std::fs::write(format!("/proc/{}/fd/{end}", parent.pid()), "x").unwrap();
        assert_eq!(parent.line(), "woken\n");
    }

    #[test]
    fn when_we_are_killed_meanwhile_it_runs_on_and_its_signal_is_not_lost() {
        let busy = Busy::start();
        for (at, about_to_be_signalled) in [false, true].into_iter().enumerate() {
            // This test program again, of which one test plays threadscape.
            let mut us = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "observe::stacks::pause::tests::a_process_that_never_lets_go",
                    "--nocapture",
                ])
                .env("THREADSCAPE_TEST_HOLD", busy.tid.to_string())
                .env("THREADSCAPE_TEST_SIGNAL", if about_to_be_signalled { "1" } else { "" })
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let out = BufReader::new(us.stdout.take().unwrap());
            let held = out.lines().map_while(Result::ok).any(|line| line.contains("held"));
            assert!(held);
            assert_eq!(busy.state(), 't');
            us.kill().unwrap();
            us.wait().unwrap();
            busy.runs_on();
            until("the signal", || busy.signals() == at as u64);
        }
    }

    /// Not a test by itself: what the one above starts and kills.
    #[test]
    fn a_process_that_never_lets_go() {
        let Ok(tid) = std::env::var("THREADSCAPE_TEST_HOLD") else {
            return;
        };
        let tid = Tid(tid.parse().unwrap());
        let mut seized = Seized::seize(tid).unwrap();
        let signalled = std::env::var("THREADSCAPE_TEST_SIGNAL").is_ok_and(|word| !word.is_empty());
        if signalled {
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(tid.0 as i32).unwrap(),
                rustix::process::Signal::USR1,
            )
            .unwrap();
            until("the stop before delivery", || state(tid.0) == 't');
        }
        let stop = seized.interrupt(Instant::now() + LONG).unwrap();
        assert_eq!(
            stop,
            if signalled {
                Stop::Signal(libc::SIGUSR1)
            } else {
                Stop::Interrupted
            }
        );
        println!("held");
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn another_users_thread_is_not_ours_to_stop() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let busy = Busy::start();
        let key = busy_key(&busy);
        // Credentials are a thread's own in the kernel, and the tracer it starts inherits them.
        let caught = std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            catch(key, LONG, 64)
        })
        .join()
        .unwrap();
        assert_eq!(caught.err(), Some(Unknown::PtraceDenied));
        busy.runs_on();
    }

    #[test]
    fn a_program_of_32_bits_is_told_and_runs_on() {
        let Some(narrow) = Narrow::start() else { return };
        assert_eq!(catch(narrow.key, LONG, 64).err(), Some(Unknown::ForeignCode));
        until("it to run", || state(narrow.key.tid.0) == 'R');
    }
}
