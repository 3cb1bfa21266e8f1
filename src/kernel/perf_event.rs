//! `perf_event_open`: one sample of a thread's user registers and stack, taken while it runs on.
//!
//! Source: perf_event_open(2) and kernel/events/core.c. The event is a software clock, which every
//! machine has: after some CPU time of that one thread the kernel's timer interrupt copies its
//! registers and the top of its stack into a ring that we share with it. Time spent in the kernel is not
//! sampled, so registers and stack belong together. The event is armed for a single sample
//! (`PERF_EVENT_IOC_REFRESH`), after which it costs the thread nothing, and goes away when we close it.
//!
//! A thread that does not run is not sampled; nothing wakes it. Rights: those of a ptrace reader
//! (the same user, CAP_SYS_PTRACE) or CAP_PERFMON; `kernel.perf_event_paranoid` above 2, which
//! Debian and Android know, asks for CAP_PERFMON in any case.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys as perf;
use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_CPU_CLOCK, PERF_FLAG_FD_CLOEXEC, PERF_RECORD_SAMPLE, PERF_SAMPLE_REGS_ABI_64,
    PERF_SAMPLE_REGS_ABI_NONE, PERF_SAMPLE_REGS_USER, PERF_SAMPLE_STACK_USER, PERF_SAMPLE_TID, PERF_TYPE_SOFTWARE,
    perf_event_attr, perf_event_mmap_page,
};

use super::ProcRoot;
use super::registers::{self, SAMPLED, SAMPLED_COUNT, UserRegisters};
use crate::model::{Pid, Tid};

/// CPU time until the sample. Short, so that a thread that runs in short turns is met; the kernel
/// itself goes no lower than 10 µs.
const PERIOD_NS: u64 = 100_000;
/// The most that a sample can hold beside its stack, with room to spare.
const BESIDE_STACK: usize = 128;
/// A record's size is a `u16`, so the kernel cuts larger stacks.
pub const MOST_STACK: usize = 60 << 10;

/// One thread as it was while it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub pid: Pid,
    pub tid: Tid,
    /// `None`: the thread had none (it was on its way out).
    pub registers: Option<UserRegisters>,
    /// A program of 32 bits: its registers are not what ours are.
    pub foreign: bool,
    /// From the stack pointer on.
    pub stack: Vec<u8>,
}

/// Why a sampler could not be had.
#[derive(Debug)]
pub enum Refusal {
    /// The kernel's answer to `perf_event_open`.
    Open(io::Error),
    /// No descriptor or no locked memory is left for it (`kernel.perf_event_mlock_kb`): try with fewer.
    NoRoom,
}

/// An armed event. Closing it takes it off the thread.
#[derive(Debug)]
pub struct Sampler {
    event: OwnedFd,
    ring: Ring,
}

impl Sampler {
    /// Arms an event on `tid`. `stack_bytes` is rounded to what the kernel takes.
    pub fn open(tid: Tid, stack_bytes: usize) -> Result<Sampler, Refusal> {
        if SAMPLED == 0 {
            return Err(Refusal::Open(io::Error::from_raw_os_error(libc::ENOSYS)));
        }
        let stack_bytes = (stack_bytes.clamp(256, MOST_STACK) / 8) * 8;
        let mut attributes = attributes(stack_bytes);
        // SAFETY: the attributes are initialised, say their own size and outlive the call.
        let event = unsafe {
            perf::perf_event_open(
                &raw mut attributes,
                tid.0 as libc::pid_t,
                -1,
                -1,
                PERF_FLAG_FD_CLOEXEC as libc::c_ulong,
            )
        };
        if event < 0 {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Refusal::NoRoom,
                _ => Refusal::Open(error),
            });
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let event = unsafe { OwnedFd::from_raw_fd(event) };
        // EPERM means here that the limit of locked memory is reached.
        let ring = Ring::map(event.as_fd(), stack_bytes + BESIDE_STACK).map_err(|_| Refusal::NoRoom)?;
        // SAFETY: an ioctl by value on a descriptor that is open.
        let armed = unsafe { perf::ioctls::REFRESH(event.as_raw_fd(), 1) };
        if armed < 0 {
            return Err(Refusal::Open(io::Error::last_os_error()));
        }
        Ok(Sampler { event, ring })
    }

    /// The sample, once it is there.
    pub fn take(&self) -> Option<Sample> {
        first_sample(&self.ring.written())
    }
}

/// Readable when the sample is there, hung up when the thread has ended.
impl AsFd for Sampler {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

fn attributes(stack_bytes: usize) -> perf_event_attr {
    let mut attributes = perf_event_attr {
        type_: PERF_TYPE_SOFTWARE,
        size: size_of::<perf_event_attr>() as u32,
        config: PERF_COUNT_SW_CPU_CLOCK as u64,
        sample_type: (PERF_SAMPLE_TID | PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER) as u64,
        sample_regs_user: SAMPLED,
        sample_stack_user: stack_bytes as u32,
        ..perf_event_attr::default()
    };
    attributes.__bindgen_anon_1.sample_period = PERIOD_NS;
    attributes.__bindgen_anon_2.wakeup_events = 1;
    attributes.set_disabled(1);
    attributes.set_exclude_kernel(1);
    attributes.set_exclude_hv(1);
    attributes
}

/// `/proc/sys/kernel/perf_event_paranoid`, for the words of a refusal: what is allowed is found by trying.
pub fn paranoid(root: &ProcRoot) -> Option<i32> {
    let text = fs::read_to_string(root.path().join("sys/kernel/perf_event_paranoid")).ok()?;
    text.trim().parse().ok()
}

/// The memory that the kernel writes samples to: a page about it, then a power of two of pages.
#[derive(Debug)]
struct Ring {
    base: *mut libc::c_void,
    bytes: usize,
    page: usize,
}

// SAFETY: the mapping belongs to this value alone, and the one word that others write (the head) is read
// as an atomic.
unsafe impl Send for Ring {}

impl Ring {
    /// With room for one record of `room` bytes.
    fn map(event: BorrowedFd<'_>, room: usize) -> io::Result<Ring> {
        let page = rustix::param::page_size();
        let bytes = page + room.div_ceil(page).next_power_of_two() * page;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing of ours lies there.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Ring { base, bytes, page })
    }

    /// What the kernel has written so far. We never say that we have read it, so it is not overwritten:
    /// a second sample would find no room, and none is asked for.
    fn written(&self) -> Vec<u8> {
        let about = self.base.cast::<perf_event_mmap_page>();
        // SAFETY: the mapping begins with this page; only the place is computed.
        let head = unsafe { &raw mut (*about).data_head };
        // SAFETY: aligned, mapped for as long as `self` lives, and written by the kernel as one word.
        let head = unsafe { AtomicU64::from_ptr(head) };
        // Acquire: pairs with the kernel's barrier between the record's bytes and the head.
        let head = head.load(Ordering::Acquire);
        let count = usize::try_from(head).map_or(0, |head| head.min(self.bytes - self.page));
        let mut copied = vec![0; count];
        // SAFETY: the data begins after the first page and `count` bytes of it are mapped.
        let data = unsafe { self.base.cast::<u8>().add(self.page) };
        // SAFETY: as above; the kernel writes bytes before the head no more, and `copied` is ours.
        unsafe { std::ptr::copy_nonoverlapping(data, copied.as_mut_ptr(), count) };
        copied
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this size, and no reference into it is left.
        unsafe { libc::munmap(self.base, self.bytes) };
    }
}

/// The first sample among the records. Others (lost, throttled) are passed over. `None`: there is none, or what
/// is there is not a record of the kind we asked for.
pub fn first_sample(mut records: &[u8]) -> Option<Sample> {
    loop {
        // struct perf_event_header: type, misc, size of the whole record.
        let kind = u32::from_ne_bytes(records.get(..4)?.try_into().ok()?);
        let size = usize::from(u16::from_ne_bytes(records.get(6..8)?.try_into().ok()?));
        let body = records.get(8..size)?;
        if kind == PERF_RECORD_SAMPLE {
            return parse(body);
        }
        records = &records[size..];
    }
}

/// `{ u32 pid, tid; } { u64 abi; u64 regs[]; } { u64 size; char data[size]; u64 dyn_size; }`, in the order of
/// `PERF_SAMPLE_TID`, `_REGS_USER`, `_STACK_USER` in perf_event_open(2). `dyn_size` is what could be copied.
fn parse(body: &[u8]) -> Option<Sample> {
    let (pid, tid) = body.get(..8)?.split_at(4);
    let pid = Pid(u32::from_ne_bytes(pid.try_into().ok()?));
    let tid = Tid(u32::from_ne_bytes(tid.try_into().ok()?));
    let mut rest = &body[8..];
    let mut word = || -> Option<u64> {
        let (first, behind) = rest.split_first_chunk::<8>()?;
        rest = behind;
        Some(u64::from_ne_bytes(*first))
    };
    let abi = word()?;
    let registers = if abi == u64::from(PERF_SAMPLE_REGS_ABI_NONE) {
        None
    } else {
        let mut values = [0; SAMPLED_COUNT];
        for value in &mut values {
            *value = word()?;
        }
        Some(registers::of_sample(values))
    };
    let size = usize::try_from(word()?).ok()?;
    let stack = rest.get(..size)?;
    let copied = match size {
        0 => 0,
        _ => {
            let after = rest.get(size..)?.first_chunk::<8>()?;
            usize::try_from(u64::from_ne_bytes(*after)).ok()?
        }
    };
    Some(Sample {
        pid,
        tid,
        registers,
        foreign: abi != u64::from(PERF_SAMPLE_REGS_ABI_64) && registers.is_some(),
        stack: stack.get(..copied)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record as the kernel lays it out.
    fn record(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(((body.len() + 8) as u16).to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn body(abi: u64, registers: &[u64], stack: &[u8], copied: u64) -> Vec<u8> {
        let mut bytes = 7u32.to_ne_bytes().to_vec();
        bytes.extend(9u32.to_ne_bytes());
        bytes.extend(abi.to_ne_bytes());
        for register in registers {
            bytes.extend(register.to_ne_bytes());
        }
        bytes.extend((stack.len() as u64).to_ne_bytes());
        bytes.extend(stack);
        if !stack.is_empty() {
            bytes.extend(copied.to_ne_bytes());
        }
        bytes
    }

    const VALUES: [u64; 4] = [11, 12, 13, 14];

    #[test]
    fn a_sample_gives_registers_and_what_could_be_copied_of_the_stack() {
        let values = &VALUES[..SAMPLED_COUNT];
        let bytes = record(9, &body(2, values, &[1, 2, 3, 4, 5, 6, 7, 8], 5));
        let sample = first_sample(&bytes).unwrap();
        assert_eq!((sample.pid, sample.tid), (Pid(7), Tid(9)));
        assert_eq!(sample.stack, [1, 2, 3, 4, 5]);
        assert!(!sample.foreign);
        let registers = sample.registers.unwrap();
        assert_eq!(registers.frame_pointer, 11);
        assert_eq!(registers.program_counter, *values.last().unwrap());
    }

    #[test]
    fn other_records_before_the_sample_are_passed_over() {
        let mut bytes = record(2, &[0; 16]);
        bytes.extend(record(9, &body(2, &VALUES[..SAMPLED_COUNT], &[], 0)));
        assert!(first_sample(&bytes).unwrap().stack.is_empty());
    }

    #[test]
    fn a_thread_without_registers_and_one_of_32_bits_are_told() {
        let none = first_sample(&record(9, &body(0, &[], &[], 0))).unwrap();
        assert_eq!((none.registers, none.foreign), (None, false));
        let narrow = first_sample(&record(9, &body(1, &VALUES[..SAMPLED_COUNT], &[], 0))).unwrap();
        assert!(narrow.foreign);
    }

    #[test]
    fn a_size_that_lies_is_refused() {
        let good = body(2, &VALUES[..SAMPLED_COUNT], &[1; 8], 8);
        assert!(first_sample(&record(9, &good)).is_some());
        // More copied than there is.
        assert_eq!(
            first_sample(&record(9, &body(2, &VALUES[..SAMPLED_COUNT], &[1; 8], 9))),
            None
        );
        for cut in 0..good.len() {
            assert_eq!(first_sample(&record(9, &good[..cut])), None, "{cut}");
        }
        // A record of no size would be read for ever.
        assert_eq!(first_sample(&[2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = first_sample(&bytes);
        }

        #[test]
        fn no_body_makes_it_panic_and_what_it_gives_was_there(mut bytes in prop::collection::vec(any::<u8>(), 0..400), size in 0u64..500) {
            // A size that may fit, where it is looked for.
            let at = 8 + 8 + SAMPLED_COUNT * 8;
            if bytes.len() >= at + 8 {
                bytes[at..at + 8].copy_from_slice(&size.to_ne_bytes());
                bytes[8..16].copy_from_slice(&2u64.to_ne_bytes());
            }
            if let Some(sample) = first_sample(&record(9, &bytes)) {
                prop_assert!(sample.stack.len() <= bytes.len());
            }
        }
    }
}
