//! Samples threads that run: `perf_event_open` with user registers and stack, without stopping them.
//!
//! Threads are taken in batches, since each sampler holds a descriptor and some locked memory. Each batch has its
//! share of the time that is left, and all of a batch wait together. What comes back is whole: all registers that
//! a walk needs, and the stack as it was at that very moment.
//!
//! A thread that has no sample in the end did not run in user mode in that time: it waits for a CPU, or has
//! blocked by now, and then the kernel's `syscall` file knows where. Who asks tries that next.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Caught;
use crate::kernel::ProcRoot;
use crate::kernel::perf_event::{Refusal, Sample, Sampler};
use crate::model::{Evidence, ThreadKey, Unknown};
use crate::observe::glance;

/// Samplers at a time: descriptors, and 36 KiB of locked memory each.
const BATCH: usize = 64;
/// Of the stack, from its top on. Most stacks are shorter.
const STACK_BYTES: usize = 24 << 10;

/// A sample of each of these threads, in their order. A thread that does not run within `patience` has
/// none (`Late`); one that may not be sampled says `SamplingDenied`.
///
/// The time counts from the first sampler on: the first event of a machine makes the kernel rewrite its own code.
pub(super) fn sample(threads: &[ThreadKey], patience: Duration) -> Vec<Evidence<Caught>> {
    let root = ProcRoot::live();
    let mut answers = vec![Err(Unknown::Late); threads.len()];
    let mut until = None;
    let mut next = 0;
    while next < threads.len() {
        let mut batch = Vec::new();
        while batch.len() < BATCH && next < threads.len() {
            match Sampler::open(threads[next].tid, STACK_BYTES) {
                Ok(sampler) => batch.push((next, sampler)),
                // As many as there is room for. No room for a single one: then for none of the others.
                Err(Refusal::NoRoom) if batch.is_empty() => return answers,
                Err(Refusal::NoRoom) => break,
                Err(Refusal::Open(error)) => answers[next] = Err(refusal(error.raw_os_error())),
            }
            next += 1;
        }
        let until = *until.get_or_insert_with(|| Instant::now() + patience);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let batches = 1 + (threads.len() - next).div_ceil(BATCH);
        gather(batch, Instant::now() + left / batches as u32, |at, sample| {
            answers[at] = caught(&root, threads[at], sample);
        });
    }
    answers
}

/// Waits for all of a batch until then, and hands on what comes: a sample, or `None` for a thread that has ended.
fn gather(mut batch: Vec<(usize, Sampler)>, until: Instant, mut each: impl FnMut(usize, Option<Sample>)) {
    while !batch.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        let limit = Timespec {
            tv_sec: left.as_secs() as _,
            tv_nsec: left.subsec_nanos() as _,
        };
        let mut polled: Vec<PollFd<'_>> = batch
            .iter()
            .map(|(_, sampler)| PollFd::new(sampler, PollFlags::IN))
            .collect();
        // A signal to us is as good as a time-out: what is there is taken, and the clock is looked at again.
        let _ = poll(&mut polled, Some(&limit));
        let ended: Vec<bool> = polled.iter().map(|fd| fd.revents().contains(PollFlags::HUP)).collect();
        let mut ended = ended.into_iter();
        batch.retain(|(at, sampler)| {
            let ended = ended.next().unwrap_or(false);
            match sampler.take() {
                Some(sample) => each(*at, Some(sample)),
                None if ended => each(*at, None),
                None => return true,
            }
            false
        });
        if left.is_zero() {
            return;
        }
    }
}

fn caught(root: &ProcRoot, thread: ThreadKey, sample: Option<Sample>) -> Evidence<Caught> {
    let sample = sample.ok_or(Unknown::Gone)?;
    let registers = sample.registers.ok_or(Unknown::Gone)?;
    if sample.foreign {
        return Err(Unknown::ForeignCode);
    }
    // Another thread may have had this id by then. One of its start time that is there afterwards was there before.
    let folder = root.thread(thread.process.pid, thread.tid);
    if (sample.pid, sample.tid) != (thread.process.pid, thread.tid)
        || glance::stat(root, &folder)?.start != thread.start
    {
        return Err(Unknown::Gone);
    }
    Ok(Caught {
        registers: registers.into(),
        stack: sample.stack,
    })
}

/// Whether a thread may be sampled. An event is made on it and closed again at once.
pub(in crate::observe) fn may_sample(thread: ThreadKey) -> Evidence<()> {
    match Sampler::open(thread.tid, 0) {
        Ok(_) => Ok(()),
        Err(Refusal::NoRoom) => Err(Unknown::Late),
        Err(Refusal::Open(error)) => Err(refusal(error.raw_os_error())),
    }
}

fn refusal(error: Option<i32>) -> Unknown {
    match error {
        Some(libc::ESRCH) => Unknown::Gone,
        Some(libc::EACCES | libc::EPERM) => Unknown::SamplingDenied,
        // Not built in, filtered away, or without user registers and stacks.
        _ => Unknown::NoKernelSupport,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_of_catching::{Narrow, busy_key, key_of};
    use super::*;
    use crate::kernel::trials::{Busy, until};
    use crate::model::{Ticks, Tid};

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_running_thread_is_caught_where_it_runs_and_runs_on() {
        let busy = Busy::start();
        let sampled = sample(&[busy_key(&busy)], LONG);
        let caught = sampled[0].as_ref().unwrap();
        assert!(busy.spin.contains(&caught.registers.program_counter), "{caught:x?}");
        assert!(caught.registers.frame_pointer.is_some());
        // The stack is the thread's own: its caller's mark lies on it.
        assert!(holds_mark(&caught.stack));
        busy.runs_on();
    }

    fn holds_mark(stack: &[u8]) -> bool {
        let mark = 0x5eed_5eed_5eed_5eed_u64.to_ne_bytes();
        stack.chunks_exact(8).any(|word| word == mark)
    }

    #[test]
    fn answers_come_in_order_and_who_sleeps_or_is_gone_is_told_apart() {
        let (busy, asleep) = (Busy::start(), Busy::asleep());
        let mut another = busy_key(&busy);
        another.start = Ticks(another.start.0 - 1);
        let mut gone = busy_key(&busy);
        gone.tid = Tid(0x7fff_fff0);
        let answers = sample(
            &[busy_key(&asleep), gone, busy_key(&busy), another],
            Duration::from_millis(500),
        );
        assert_eq!(answers[0].as_ref().err(), Some(&Unknown::Late));
        assert_eq!(answers[1].as_ref().err(), Some(&Unknown::Gone));
        assert!(answers[2].is_ok());
        assert_eq!(
            answers[3].as_ref().err(),
            Some(&Unknown::Gone),
            "another thread of that id"
        );
    }

    #[test]
    fn a_thread_that_ends_meanwhile_is_gone() {
        let mut asleep = Busy::asleep();
        let key = busy_key(&asleep);
        let sampling = std::thread::spawn(move || sample(&[key], LONG));
        until("the sampler", || {
            descriptors_named("perf_event") > 0 || sampling.is_finished()
        });
        asleep.program.end();
        assert_eq!(sampling.join().unwrap()[0].as_ref().err(), Some(&Unknown::Gone));
    }

    fn descriptors_named(name: &str) -> usize {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        files
            .flatten()
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .filter(|target| target.to_string_lossy().contains(name))
            .count()
    }

    #[test]
    fn more_threads_than_fit_at_once_are_taken_in_turns_within_the_time() {
        let asleep = Busy::asleep();
        let busy = Busy::start();
        let mut keys = vec![busy_key(&asleep); BATCH * 3];
        keys.push(busy_key(&busy));
        let before = Instant::now();
        let answers = sample(&keys, Duration::from_millis(800));
        // Three batches wait in vain for a share each; the last has what is left.
        assert!(answers.last().unwrap().is_ok());
        assert!(before.elapsed() < LONG);
        until("all to be closed", || descriptors_named("perf_event") == 0);
    }

    #[test]
    fn another_users_thread_is_not_ours_to_sample() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let busy = Busy::start();
        let key = busy_key(&busy);
        // Credentials are a thread's own in the kernel: only this one becomes nobody.
        let answers = std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            sample(&[key], LONG)
        })
        .join()
        .unwrap();
        assert_eq!(answers[0].as_ref().err(), Some(&Unknown::SamplingDenied));
    }

    #[test]
    fn a_kernel_thread_has_nothing_to_sample() {
        let root = ProcRoot::live();
        if glance::stat(&root, &root.process(crate::model::Pid(2))).is_ok_and(|stat| stat.is_kernel_thread) {
            let key = key_of(crate::model::Pid(2), Tid(2));
            assert!(sample(&[key], Duration::from_millis(5))[0].is_err());
        }
    }

    #[test]
    fn a_program_of_32_bits_is_told() {
        let Some(narrow) = Narrow::start() else { return };
        assert_eq!(
            sample(&[narrow.key], LONG)[0].as_ref().err(),
            Some(&Unknown::ForeignCode)
        );
    }
}
