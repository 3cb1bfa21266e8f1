//! Reads of files that may never come back, with a deadline.
//!
//! A file on a file system whose server is gone keeps its reader in the kernel, and nothing can call
//! it back. So such work is done by a thread of its own. When it is late we go on without it; what it
//! finds in the end is kept for the next one who asks. At most [`MOST_LATE`] such threads are left
//! behind: with so many, nothing more is begun.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::model::{Evidence, Unknown};

/// Each costs a thread and a file or two until its file system answers.
const MOST_LATE: usize = 4;

/// How many are left behind now. Relaxed: a bound, not an order.
static LATE: AtomicUsize = AtomicUsize::new(0);

/// A reader's state, swapped by both sides: whoever comes second knows of the other.
const READING: u8 = 0;
const DONE: u8 = 1;
const LEFT_BEHIND: u8 = 2;

/// Does `work` for each of `items`, in order and one after the other. What was not done in time is
/// `Late`; what panicked is `Unreadable`: a parser that trips over one file must not end us.
pub(in crate::observe::stacks) fn within<I, T>(
    patience: Duration,
    items: Vec<I>,
    work: impl Fn(I) -> T + Send + 'static,
) -> Vec<Evidence<T>>
where
    I: Send + 'static,
    T: Send + 'static,
{
    let mut found: Vec<Evidence<T>> = items.iter().map(|_| Err(Unknown::Late)).collect();
    if items.is_empty() || LATE.load(Ordering::Relaxed) >= MOST_LATE {
        return found;
    }
    let deadline = Instant::now() + patience;
    let (done, results) = mpsc::sync_channel(items.len());
    let state = Arc::new(AtomicU8::new(READING));
    let its_state = Arc::clone(&state);
    let spawned = std::thread::Builder::new()
        .name("file reader".to_owned())
        .spawn(move || {
            for (at, item) in items.into_iter().enumerate() {
                let result = catch_unwind(AssertUnwindSafe(|| work(item))).map_err(|_| Unknown::Unreadable);
                // Nobody listens any more once the deadline has passed: the rest would be in vain.
                if done.send((at, result)).is_err() || Instant::now() > deadline {
                    break;
                }
            }
            // Its end of the channel goes before the state says so, or we would wait for nothing.
            drop(done);
            if its_state.swap(DONE, Ordering::Relaxed) == LEFT_BEHIND {
                LATE.fetch_sub(1, Ordering::Relaxed);
            }
        });
    if spawned.is_err() {
        return found;
    }
    loop {
        match results.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((at, result)) => found[at] = result,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                LATE.fetch_add(1, Ordering::Relaxed);
                if state.swap(LEFT_BEHIND, Ordering::Relaxed) == DONE {
                    LATE.fetch_sub(1, Ordering::Relaxed);
                }
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_a_panic_is_one_result() {
        let found = within(Duration::from_secs(20), vec![1, 0, 3], |n: u32| 12 / n);
        assert_eq!(found, [Ok(12), Err(Unknown::Unreadable), Ok(4)]);
    }

    #[test]
    fn what_never_comes_back_is_late_and_what_came_before_is_kept() {
        let (release, held) = mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let found = within(Duration::from_millis(200), vec![1, 2, 3], move |n: u32| {
            if n == 2 {
                let _ = held.lock().unwrap().recv();
            }
            n
        });
        assert_eq!(found, [Ok(1), Err(Unknown::Late), Err(Unknown::Late)]);
        drop(release);
    }
}
