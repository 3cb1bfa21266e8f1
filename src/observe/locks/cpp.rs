//! C++ `atomic::wait`, and the latches, barriers and semaphores that are built on it.
//!
//! Source: libstdc++'s bits/atomic_wait.h (GCC 11 to 15), libc++'s atomic.cpp. An atomic of four bytes is its own
//! futex word (FUTEX_WAIT, private); any other size waits at one of 16 words that all atomics share, so
//! the word proves nothing about which one. `std::mutex` and its like are pthread's.

use super::futex::FutexWait;
use super::shape::{Claim, Shape};
use super::waiting::At;
use super::words::Window;
use crate::model::{LockKind, Unknown};

pub(super) fn waits(function: &str) -> Option<At> {
    const PARTS: &[&str] = &[
        "std::__atomic_wait",
        "std::__atomic_impl::wait",
        "std::__detail::__platform_wait",
        "std::__detail::__waiter",
        "std::__detail::__wait_impl",
        "std::__detail::__wait_until_impl",
        "std::__detail::__spin_until_impl",
        "std::__detail::__platform_wait_until",
        "std::__atomic_base<",
        "std::__atomic_semaphore",
        "std::__semaphore_base",
        "std::__tree_barrier",
        "std::__platform_semaphore",
        "std::latch::",
        "std::barrier<",
        "std::counting_semaphore<",
        "std::atomic_flag::wait",
        "std::atomic<",
        "std::__1::__libcpp_atomic_wait",
        "std::__1::__cxx_atomic_wait",
        "std::__1::__libcpp_platform_wait_on_address",
    ];
    // The wait's own name, before its arguments: an argument's type says nothing.
    PARTS
        .iter()
        .any(|part| function.split('(').next().unwrap_or(function).contains(part))
        .then_some(At::CppAtomic)
}

pub(super) fn look(wait: &FutexWait, window: &Window) -> Option<Shape> {
    let word = window.u32(wait.address)?;
    Some(Shape {
        fits: true,
        state: format!("value {word}, waits while it is {}", wait.value),
        claim: Claim::Nobody(Unknown::NotHeld),
        ..Shape::of(LockKind::CppAtomicWait, wait.address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_of_libstdcxx_are_known() {
        for function in [
            "void std::__detail::__platform_wait<int>(int const*, int)",
            "std::latch::wait() const",
            "void std::__atomic_wait_address_bare<int>(int const*, int)",
            "std::__atomic_base<int>::wait(int, std::memory_order) const",
            "std::__atomic_semaphore::_M_acquire()",
        ] {
            assert_eq!(waits(function), Some(At::CppAtomic), "{function}");
        }
        assert_eq!(waits("app::run(std::latch::Token)"), None);
        assert_eq!(waits("std::condition_variable::wait"), None);
    }
}
