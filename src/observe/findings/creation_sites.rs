//! Which functions threads were started with: the outermost frames of their stacks that are not the
//! threads library's own.

use std::collections::HashMap;

use super::board::Detail;
use super::{fact, names};
use crate::model::{Dump, Stack, StackEnd, Tid};

/// What the C library, the C++ library and Rust's standard library put between the kernel and a
/// program's own start routine.
const NOT_THEIRS: [&str; 22] = [
    "clone",
    "__clone",
    "clone3",
    "__clone3",
    "__GI___clone",
    "start_thread",
    "thread_start",
    "thread_start_func",
    "_start",
    "__libc_start_main",
    "__libc_start_call_main",
    "execute_native_thread_routine",
    "__rust_begin_short_backtrace",
    "__rust_try",
    "std::",
    "core::",
    "alloc::",
    "<std::",
    "<core::",
    "<alloc::",
    "void std::",
    "__pthread_start",
];

/// The sites at which these threads began, for a finding. `None` when no stack tells.
pub(super) fn detail(dump: &Dump, tids: &[Tid]) -> Option<Detail> {
    let mut sites: HashMap<String, usize> = HashMap::new();
    for tid in tids {
        let stack = dump.thread(*tid).and_then(|thread| thread.stack.as_ref().ok());
        if let Some(name) = stack.and_then(|stack| start_routine(stack)) {
            *sites.entry(name.to_owned()).or_default() += 1;
        }
    }
    let told: usize = sites.values().sum();
    let most = sites.values().copied().max()?;
    Some(Detail {
        words: format!(
            "of the newest {} their stacks say where they began: {}",
            tids.len(),
            names::tally(sites)
        ),
        facts: vec![
            fact("start_routine_known", told as f64, "threads"),
            fact("same_start_routine", most as f64, "threads"),
        ],
        stack: super::lock_detectors::common_stack(dump, tids),
    })
}

/// The function that a thread was started with.
fn start_routine(stack: &Stack) -> Option<&str> {
    // A walk that stopped before the end has not met it.
    if stack.end != StackEnd::Complete {
        return None;
    }
    let outermost_first = stack.frames.iter().rev();
    let functions = outermost_first.flat_map(|frame| frame.place.functions.iter().flatten().rev());
    functions.map(|function| &*function.name).find(|name| is_theirs(name))
}

fn is_theirs(name: &str) -> bool {
    !NOT_THEIRS.iter().any(|known| {
        if known.ends_with("::") {
            name.starts_with(known)
        } else {
            name == *known || name.ends_with(&format!("::{known}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Frame, Function, Place, StackSource, Trust};
    use std::sync::Arc;

    fn stack(names: &[&str], end: StackEnd) -> Stack {
        let frame = |name: &&str| Frame {
            place: Arc::new(Place {
                address: 0x10,
                module: None,
                module_address: 0,
                functions: Ok(vec![Function {
                    name: Arc::from(*name),
                    file: None,
                    line: None,
                    inlined: false,
                }]),
                function_offset: None,
            }),
            trust: Trust::Unwound,
        };
        Stack {
            frames: names.iter().map(frame).collect(),
            end,
            source: StackSource::Syscall,
            moved: false,
        }
    }

    #[test]
    fn the_start_routine_lies_behind_the_libraries_frames() {
        let check = |names: &[&str], expected: Option<&str>| {
            assert_eq!(start_routine(&stack(names, StackEnd::Complete)), expected, "{names:?}");
        };
        check(
            &["nanosleep", "wait_for_work", "leak_main", "start_thread", "__clone3"],
            Some("leak_main"),
        );
        check(
            &[
                "futex_wait",
                "app::worker::run",
                "std::sys::backtrace::__rust_begin_short_backtrace",
                "core::ops::function::FnOnce::call_once{{vtable.shim}}",
                "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
                "std::sys::thread::unix::Thread::new::thread_start",
                "start_thread",
                "clone3",
            ],
            Some("app::worker::run"),
        );
        check(&["start_thread", "clone"], None);
        assert_eq!(start_routine(&stack(&["x"], StackEnd::NoUnwindInfo)), None);
    }
}
