//! A futex call in words: which word of memory the thread sleeps at, and on what condition.
//!
//! Source: futex(2), include/uapi/linux/futex.h, and kernel/futex/syscalls.c for `futex_wait` and
//! `futex_waitv`. The call's operation and value are evidence of the family: glibc's locks wait by
//! FUTEX_WAIT (0x80), what has a deadline and Rust's std by FUTEX_WAIT_BITSET (0x89).
//!
//! A call with a time-out that a signal interrupted goes on as `restart_syscall`: its arguments are
//! still in the registers, but nothing in the line says that it was a futex. Then the stack must.

use crate::kernel::calls;
use crate::model::Call;

const WAIT: u64 = 0;
const LOCK_PI: u64 = 6;
const WAIT_BITSET: u64 = 9;
const WAIT_REQUEUE_PI: u64 = 11;
const LOCK_PI2: u64 = 13;
const PRIVATE: u64 = 0x80;
const CLOCK_REALTIME: u64 = 0x100;

/// `FUTEX2_PRIVATE` and the size bits, of which 2 is the one that exists.
const SECOND_PRIVATE: u64 = 0x80;
const SECOND_SIZE: u64 = 3;
const SECOND_U32: u64 = 2;

/// FUTEX_WAITV_MAX.
const MOST_WORDS: u64 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Wait,
    WaitBitset,
    /// The kernel hands the word over: it holds the owner's tid.
    LockPi,
    WaitRequeuePi,
}

/// One thread's sleep at a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FutexWait {
    pub address: u64,
    /// What the word held when the thread went to sleep.
    pub value: u32,
    pub operation: Operation,
    /// Of this process alone: the kernel does not look for others that map the word.
    pub private: bool,
    pub timed: bool,
}

/// What a call says about futexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Wait(FutexWait),
    /// It was a futex wait if the stack says so.
    Restarted(FutexWait),
    /// `futex_waitv`: so many words, described by an array of 24 bytes each at `list`.
    Vector {
        list: u64,
        words: u64,
        timed: bool,
    },
}

/// `None`: not a futex call, or one that does not wait.
pub(super) fn decode(call: &Call) -> Option<Decoded> {
    let number = call.number?;
    let [address, second, _, fourth, fifth, _] = call.arguments;
    match calls::name(number)? {
        "futex" | "futex_time64" => wait(&call.arguments).map(Decoded::Wait),
        "restart_syscall" => wait(&call.arguments).filter(|wait| wait.timed).map(Decoded::Restarted),
        // futex_wait(word, value, mask, flags, time-out, clock)
        "futex_wait" => (fourth & SECOND_SIZE == SECOND_U32 && is_word(address)).then_some(Decoded::Wait(FutexWait {
            address,
            value: second as u32,
            operation: Operation::WaitBitset,
            private: fourth & SECOND_PRIVATE != 0,
            timed: fifth != 0,
        })),
        // futex_waitv(list, words, flags, time-out, clock)
        "futex_waitv" => (1..=MOST_WORDS).contains(&second).then_some(Decoded::Vector {
            list: address,
            words: second,
            timed: fourth != 0,
        }),
        _ => None,
    }
}

/// One entry of `futex_waitv`'s list: value, address, flags. `None` when it is not one.
pub(super) fn vector_entry(bytes: &[u8], timed: bool) -> Option<FutexWait> {
    let value = u64::from_le_bytes(*bytes.first_chunk()?);
    let address = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    let flags = u64::from(u32::from_le_bytes(*bytes.get(16..)?.first_chunk()?));
    is_word(address).then_some(FutexWait {
        address,
        value: value as u32,
        operation: Operation::Wait,
        private: flags & SECOND_PRIVATE != 0,
        timed,
    })
}

fn wait(arguments: &[u64; 6]) -> Option<FutexWait> {
    let [address, operation, value, time_out, ..] = *arguments;
    // An `int`: the upper half of the register is whatever was there.
    let operation = operation & 0xffff_ffff;
    let command = match operation & !(PRIVATE | CLOCK_REALTIME) {
        WAIT => Operation::Wait,
        WAIT_BITSET => Operation::WaitBitset,
        LOCK_PI | LOCK_PI2 => Operation::LockPi,
        WAIT_REQUEUE_PI => Operation::WaitRequeuePi,
        _ => return None,
    };
    is_word(address).then_some(FutexWait {
        address,
        value: value as u32,
        operation: command,
        private: operation & PRIVATE != 0,
        timed: time_out != 0,
    })
}

/// The kernel takes aligned words only.
fn is_word(address: u64) -> bool {
    address != 0 && address.is_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: [u64; 6]) -> Call {
        let number = (0..1000).find(|number| calls::name(*number) == Some(name));
        Call {
            number,
            arguments,
            stack_pointer: 0x7000,
            program_counter: 0x1000,
        }
    }

    fn plain(address: u64, value: u32, operation: Operation) -> FutexWait {
        FutexWait {
            address,
            value,
            operation,
            private: true,
            timed: false,
        }
    }

    #[test]
    fn each_way_to_wait_is_told() {
        let check = |code: u64, value: u64, time_out: u64, expected: Option<FutexWait>| {
            let found = decode(&call("futex", [0x7000, code, value, time_out, 0, 0]));
            assert_eq!(found, expected.map(Decoded::Wait), "{code:x}");
        };
        check(0x80, 2, 0, Some(plain(0x7000, 2, Operation::Wait)));
        check(0xdead_0000_0000_0080, 2, 0, Some(plain(0x7000, 2, Operation::Wait)));
        check(0x189, 0, 0, Some(plain(0x7000, 0, Operation::WaitBitset)));
        check(0x86, 0, 0, Some(plain(0x7000, 0, Operation::LockPi)));
        check(0x8d, 0, 0, Some(plain(0x7000, 0, Operation::LockPi)));
        check(0x8b, 7, 0, Some(plain(0x7000, 7, Operation::WaitRequeuePi)));
        let timed = FutexWait {
            timed: true,
            ..plain(0x7000, u32::MAX, Operation::WaitBitset)
        };
        check(0x89, 0xffff_ffff, 0x7fff, Some(timed));
        let shared = FutexWait {
            private: false,
            ..plain(0x7000, 24784, Operation::WaitBitset)
        };
        check(0x109, 24784, 0, Some(shared));
        // A wake, a requeue, an unlock: over in a moment.
        for code in [0x81, 0x84, 0x87, 0x8a] {
            check(code, 1, 0, None);
        }
    }

    #[test]
    fn what_is_no_word_is_not_waited_at() {
        for address in [0, 1, 0x7002] {
            assert_eq!(decode(&call("futex", [address, 0x80, 2, 0, 0, 0])), None);
        }
        assert_eq!(decode(&call("read", [0x7000, 0x80, 2, 0, 0, 0])), None);
        let outside = Call {
            number: None,
            ..call("futex", [0x7000, 0x80, 2, 0, 0, 0])
        };
        assert_eq!(decode(&outside), None);
    }

    #[test]
    fn the_second_futex_calls_are_told_by_their_flags() {
        let wait = decode(&call("futex_wait", [0x7000, 5, u64::MAX, 0x82, 0, 0]));
        assert_eq!(wait, Some(Decoded::Wait(plain(0x7000, 5, Operation::WaitBitset))));
        assert_eq!(decode(&call("futex_wait", [0x7000, 5, u64::MAX, 0x80, 0, 0])), None);
        let vector = decode(&call("futex_waitv", [0x7000, 2, 0, 0x10, 1, 0]));
        let expected = Decoded::Vector {
            list: 0x7000,
            words: 2,
            timed: true,
        };
        assert_eq!(vector, Some(expected));
        assert_eq!(decode(&call("futex_waitv", [0x7000, 129, 0, 0, 1, 0])), None);
        let mut entry = [0u8; 24];
        entry[0] = 9;
        entry[8..16].copy_from_slice(&0x7000u64.to_le_bytes());
        entry[16] = 0x82;
        assert_eq!(vector_entry(&entry, false), Some(plain(0x7000, 9, Operation::Wait)));
        assert_eq!(vector_entry(&entry[..19], false), None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_wait_that_a_signal_interrupted_is_one_only_with_a_time_out() {
        let restarted = |time_out| decode(&call("restart_syscall", [0x7000, 0x189, 0, time_out, 0, 0]));
        assert!(matches!(restarted(0x7ff0), Some(Decoded::Restarted(wait)) if wait.timed));
        assert_eq!(restarted(0), None);
    }
}
