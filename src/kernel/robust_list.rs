//! `get_robust_list`: the robust mutexes that a thread holds, from its own list of them.
//!
//! Source: get_robust_list(2), Documentation/locking/robust-futex-ABI.rst and `exit_robust_list` in
//! kernel/futex/core.c. A thread links every robust mutex that it has locked into a list whose head the
//! kernel knows, so that the kernel can mark them when the thread dies. The list lies in the program's
//! memory, in the program's words: it is read with a limit and never believed to end.
//!
//! Needs ptrace access, for reading only. The thread runs on and may change the list while we follow it:
//! then it is read again, and in the end given up. A lock that is just being taken or given up
//! (`list_op_pending`) is not counted as held. A program of 32 bits keeps another list, which this call
//! does not give: its threads look as if they held none.

use std::io;

use super::process_vm;
use crate::model::{Evidence, Pid, Tid, Unknown};

/// As far as the kernel itself follows the list (`ROBUST_LIST_LIMIT`).
pub const MOST: usize = 2048;
/// Readings of a list that changes.
const TRIES: usize = 3;
/// `struct robust_list_head`: the first entry, the distance to the futex word, the entry in flight.
const HEAD_BYTES: usize = 24;

/// Where the head of the list lies in the thread's process. 0: the thread has none.
pub fn head(tid: Tid) -> io::Result<u64> {
    let mut head: u64 = 0;
    let mut length: u64 = 0;
    // SAFETY: both pointers are to words of ours that outlive the call; the kernel writes to nothing else.
    let failed = unsafe { libc::syscall(libc::SYS_get_robust_list, tid.0, &raw mut head, &raw mut length) };
    match failed {
        0 => Ok(head),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The futex words of the robust mutexes that `tid` of process `pid` holds, last taken first.
pub fn held(pid: Pid, tid: Tid) -> Evidence<Vec<u64>> {
    let head = head(tid).map_err(|error| refusal(&error))?;
    if head == 0 {
        return Ok(Vec::new());
    }
    let mut outcome = Err(Unknown::Unreadable);
    for _ in 0..TRIES {
        outcome = follow(head, |address, into| match process_vm::read(pid, address, into) {
            Ok(count) if count == into.len() => Ok(()),
            Ok(_) => Err(Unknown::Unreadable),
            Err(error) => Err(refusal(&error)),
        });
        if outcome != Err(Unknown::Unreadable) {
            break;
        }
    }
    outcome
}

fn refusal(error: &io::Error) -> Unknown {
    match error.raw_os_error() {
        Some(libc::ESRCH) => Unknown::Gone,
        Some(libc::EPERM | libc::EACCES) => Unknown::PtraceDenied,
        Some(libc::ENOSYS) => Unknown::NoKernelSupport,
        _ => Unknown::Unreadable,
    }
}

/// Follows a list from its head; `read` fills bytes from an address.
pub fn follow(head: u64, mut read: impl FnMut(u64, &mut [u8]) -> Evidence<()>) -> Evidence<Vec<u64>> {
    let mut bytes = [0; HEAD_BYTES];
    read(head, &mut bytes)?;
    let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[at * 8 + byte]));
    let to_futex = word(1);
    // Bit 0 says that the mutex inherits priority; it is no part of the address.
    let mut entry = word(0) & !1;
    let mut found = Vec::new();
    while entry != head {
        if found.len() == MOST {
            return Err(Unknown::Unreadable);
        }
        // Negative in every C library: the link lies behind the word.
        found.push(entry.wrapping_add(to_futex));
        let mut next = [0; 8];
        read(entry, &mut next)?;
        entry = u64::from_ne_bytes(next) & !1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::trials::Program;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Memory of words.
    fn of(words: &[(u64, u64)]) -> impl FnMut(u64, &mut [u8]) -> Evidence<()> {
        let words: HashMap<u64, u64> = words.iter().copied().collect();
        move |address, into| {
            for (at, part) in into.chunks_exact_mut(8).enumerate() {
                let word = words.get(&(address + at as u64 * 8)).ok_or(Unknown::Unreadable)?;
                part.copy_from_slice(&word.to_ne_bytes());
            }
            Ok(())
        }
    }

    const MINUS_32: u64 = 32u64.wrapping_neg();

    #[test]
    fn entries_lead_back_to_the_head_and_bit_0_is_no_address() {
        let memory = [
            (0x1000, 0x2020),
            (0x1008, MINUS_32),
            (0x1010, 0),
            (0x2020, 0x3021),
            (0x3020, 0x1000),
        ];
        assert_eq!(follow(0x1000, of(&memory)), Ok(vec![0x2000, 0x3000]));
        assert_eq!(
            follow(0x1000, of(&[(0x1000, 0x1000), (0x1008, MINUS_32), (0x1010, 0)])),
            Ok(vec![])
        );
    }

    #[test]
    fn a_list_that_never_leads_back_is_given_up() {
        let circle = [(0x1000, 0x2000), (0x1008, 0), (0x1010, 0), (0x2000, 0x2000)];
        assert_eq!(follow(0x1000, of(&circle)), Err(Unknown::Unreadable));
        let into_nothing = [(0x1000, 0x2000), (0x1008, 0), (0x1010, 0)];
        assert_eq!(follow(0x1000, of(&into_nothing)), Err(Unknown::Unreadable));
    }

    #[test]
    fn the_robust_mutexes_that_a_thread_holds_are_found() {
        let program = Program::start(
            "robust",
            r#"
            #include <pthread.h>
            #include <stdio.h>
            #include <unistd.h>
            #include <sys/syscall.h>
            static pthread_mutex_t taken[3], plain = PTHREAD_MUTEX_INITIALIZER;
            static void *hold(void *unused) {
                for (int i = 0; i < 3; i++) pthread_mutex_lock(&taken[i]);
                pthread_mutex_lock(&plain);
                printf("%ld %p %p %p\n", syscall(SYS_gettid), (void *)&taken[0], (void *)&taken[1], (void *)&taken[2]);
                fflush(stdout);
                for (;;) pause();
            }
            int main(void) {
                pthread_mutexattr_t robust, inherits;
                pthread_mutexattr_init(&robust);
                pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
                inherits = robust;
                pthread_mutexattr_setprotocol(&inherits, PTHREAD_PRIO_INHERIT);
                pthread_mutex_init(&taken[0], &robust);
                pthread_mutex_init(&taken[1], &inherits);
                pthread_mutex_init(&taken[2], &robust);
                pthread_t thread;
                pthread_create(&thread, 0, hold, 0);
                pthread_join(thread, 0);
            }
            "#,
            &[],
        );
        let line = program.line();
        let mut words = line.split_ascii_whitespace();
        let tid = Tid(words.next().unwrap().parse().unwrap());
        let mut expected: Vec<u64> = words
            .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap())
            .collect();
        expected.reverse();
        assert_eq!(held(program.pid(), tid), Ok(expected), "last taken first");
        // The main thread holds none.
        assert_eq!(held(program.pid(), Tid(program.pid().0)), Ok(vec![]));
    }

    #[test]
    fn a_thread_that_is_not_there_is_gone_and_another_users_is_closed() {
        assert_eq!(held(Pid(0x7fff_fff0), Tid(0x7fff_fff0)), Err(Unknown::Gone));
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let us = Pid(std::process::id());
        let theirs = std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            held(Pid(1), Tid(1))
        });
        assert_eq!(theirs.join().unwrap(), Err(Unknown::PtraceDenied));
        assert!(held(us, Tid(us.0)).is_ok());
    }

    proptest! {
        #[test]
        fn no_memory_makes_it_panic_or_run_on(words in prop::collection::vec(0u64..64, 64)) {
            let memory: Vec<(u64, u64)> = words.iter().enumerate().map(|(at, word)| (at as u64 * 8, word * 8)).collect();
            if let Ok(found) = follow(8, of(&memory)) {
                prop_assert!(found.len() <= MOST);
            }
        }
    }
}
