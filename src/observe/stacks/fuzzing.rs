//! The door by which the fuzzer hands unwind information and stacks to a walk.

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(in crate::observe) use super::symbols::fuzzing::{file, name, perf_map};

use super::Registers;
use super::reach::Memory;
use super::space::{AddressSpace, Mapped, Origin, Source, module};
use super::unwind::{Limits, Unwinder};
use crate::model::Unknown;

const CODE: u64 = 0x40_0000;
const STACK: u64 = 0x7000_0000;
const DEPTH: usize = 64;

/// Nothing but these bytes: a stack, and the code that it returns to.
struct Bytes<'a> {
    code: &'a [u8],
    stack: &'a [u8],
}

impl Memory for Bytes<'_> {
    fn word(&mut self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(STACK)?).ok()?;
        Some(u64::from_le_bytes(*self.stack.get(at..)?.first_chunk()?))
    }

    fn code(&mut self, address: u64, into: &mut [u8]) -> bool {
        let bytes = address
            .checked_sub(CODE)
            .and_then(|at| self.code.get(usize::try_from(at).ok()?..));
        let Some(bytes) = bytes.and_then(|bytes| bytes.get(..into.len())) else {
            return false;
        };
        into.copy_from_slice(bytes);
        true
    }
}

/// Two bytes say how many of the rest are the stack, two where in the file the thread stands, one whether its
/// frame pointer is known. Then come the stack and the file, an ELF program.
pub(in crate::observe) fn walk(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<5>() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes([head[0], head[1]]));
    let (stack, file) = rest.split_at(length.min(rest.len()));
    let module = module(1, "fuzzed".into(), Origin::Vdso, &Source::Bytes(file));
    let mapped = |start: u64, bytes: &[u8], executable: bool| Mapped {
        start,
        end: start + bytes.len() as u64,
        executable,
        writable: !executable,
        shared: false,
        name: if executable { "/fuzzed".into() } else { "[stack]".into() },
        module: Err(Unknown::NoSymbols),
        bias: CODE,
    };
    let mut code = mapped(CODE, file, true);
    code.module = module.map(Arc::new);
    let space = AddressSpace::made(vec![code, mapped(STACK, stack, false)]);
    let registers = Registers {
        program_counter: CODE + u64::from(u16::from_le_bytes([head[2], head[3]])),
        stack_pointer: STACK,
        frame_pointer: (head[4] & 1 != 0).then_some(STACK + u64::from(head[4] & 0xf8)),
        link: (head[4] & 2 != 0).then_some(CODE),
    };
    let limits = Limits {
        depth: DEPTH,
        until: Instant::now() + Duration::from_secs(1),
    };
    let walked = Unwinder::new(&space).walk(&registers, &mut Bytes { code: file, stack }, limits);
    assert!(!walked.frames.is_empty() && walked.frames.len() <= DEPTH);
}
