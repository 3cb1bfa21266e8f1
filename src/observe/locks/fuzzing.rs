//! The door by which the fuzzer hands memory to those who read locks out of it.

use super::futex::{self, Decoded, FutexWait, Operation};
use super::waiting::At;
use super::words::Window;
use super::{cpp, glibc, musl, parking_lot, rust_std};
use crate::model::{Call, WaitMode};

/// Four words say how the thread waits and where the window begins; the rest is what lies there.
pub(in crate::observe) fn memory(bytes: &[u8]) {
    let Some((head, bytes)) = bytes.split_first_chunk::<32>() else {
        return;
    };
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[at * 8 + byte]));
    let address = word(0) & !3;
    let window = Window {
        // Near the word, mostly: elsewhere there is nothing to read.
        start: address.wrapping_sub(word(1) & 0x1ff),
        bytes: bytes.to_vec(),
    };
    let call = Call {
        number: Some(202),
        arguments: [address, word(2), word(3) & 0xffff_ffff, word(3) >> 32, 0, word(3)],
        stack_pointer: 0,
        program_counter: 0,
    };
    if let Some(Decoded::Wait(wait) | Decoded::Restarted(wait)) = futex::decode(&call) {
        assert!(wait.address.is_multiple_of(4));
    }
    let _ = futex::vector_entry(bytes, false);
    let modes = [WaitMode::Shared, WaitMode::Exclusive];
    for operation in [Operation::Wait, Operation::WaitBitset, Operation::LockPi] {
        let wait = FutexWait {
            address,
            value: word(3) as u32,
            operation,
            private: word(2) & 0x80 != 0,
            timed: false,
        };
        for at in [
            At::Mutex,
            At::Barrier,
            At::Semaphore,
            At::Once,
            At::Join,
            At::LibcInternal,
        ] {
            let _ = glibc::look(at, &wait, &window, 720);
            let _ = musl::look(at, &wait, &window);
        }
        for mode in modes {
            let _ = glibc::look(At::Rwlock(mode), &wait, &window, 720);
            let _ = musl::look(At::Rwlock(mode), &wait, &window);
            let _ = rust_std::look(At::RustRwlock(mode), &wait, &window);
            let _ = parking_lot::lock(parking_lot::What::Rwlock(mode), address, &window);
        }
        for at in [At::RustMutex, At::RustCondvar, At::RustOnce, At::RustPark] {
            let _ = rust_std::look(at, &wait, &window);
        }
        let _ = glibc::condition_layouts(&wait, &window);
        for old in [false, true] {
            let _ = glibc::condition(&wait, &window, old);
        }
        let _ = glibc::tid_of_block(&window, 720);
        let _ = cpp::look(&wait, &window);
        let _ = parking_lot::key(&wait, &window);
        let _ = parking_lot::parker(&wait, Some(&window));
        let _ = parking_lot::lock(parking_lot::What::Mutex, address, &window);
    }
}
