//! Finds a frame pointer that the kernel does not tell, and with it the callers of a frame.
//!
//! The kernel gives program counter and stack pointer of a blocked thread. The next register that matters is
//! the frame pointer: code built with frame pointers, and every function with stack room of variable
//! size, needs it to find its caller. Its value is an address of the same stack, above the stack pointer, and
//! what it points at has a known shape: the caller's frame pointer (further up the stack, or 0 at the
//! thread's start) with the return address beside it. We go up the stack and try each place of that shape.
//!
//! A stack is full of what earlier calls have left behind, so a shape alone proves nothing. A place is taken
//! only if
//! 1. the return address is right behind a call instruction. Where that instruction says whom it calls
//!    (directly, through a linkage stub or a table), the called one should be the function of the frame that we
//!    want to leave: that is by far the strongest sign, since left-overs are of other calls. And
//! 2. the walk goes on from there by unwind information, to the thread's start or for several frames of
//!    a sound chain.
//!
//! Among several the best one wins, the nearest among equals. All frames found this way are marked.

use super::cfi::{RegisterFile, Row, Step, number};
use super::reach::Memory;
use super::unwind::{At, Limits, RawStack, Unwinder};
use crate::model::{StackEnd, Trust};

/// A frame that is larger than this is not looked through.
const MOST_BYTES: u64 = 128 << 10;
/// How far to look on for a better place than one that is good enough.
const SECOND_LOOK: u64 = 4 << 10;
/// Places that are followed to the end.
const MOST_TRIES: usize = 64;
/// Frames of a sound chain that are believed although they don't lead to the thread's start.
const ENOUGH_FRAMES: usize = 4;

/// Whom a call instruction calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callee {
    /// A register or a place in memory said it, back then.
    Unknown,
    /// The instruction says it. Where that is a stub that jumps on, `through` is where to.
    Known { target: u64, through: Option<u64> },
}

/// How well a call instruction fits the function that it would have called. Better is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It calls another function, which may have jumped to ours as its last deed.
    Other,
    Unknown,
    Exact,
}

/// How good a place is. Better is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Merit {
    /// The call names our function, and the caller's own pair lies further up. Where the walk ends then says
    /// little: behind code made at run time (a JVM's) nobody gets to the thread's start, and a 0 found there is no proof.
    called: bool,
    complete: bool,
    fit: Fit,
    chained: bool,
}

impl Merit {
    const BEST: Merit = Merit {
        called: true,
        complete: true,
        fit: Fit::Exact,
        chained: true,
    };
}

/// The callers of the frame `at`, whose `row` needs the frame pointer; without a row the frame is left by the
/// pair that the frame pointer is about.
pub(super) fn callers(
    unwinder: &mut Unwinder,
    at: &At,
    row: Option<&Row>,
    memory: &mut dyn Memory,
    limits: Limits,
) -> Option<RawStack> {
    if limits.depth == 0 {
        return None;
    }
    let from = at.stack_pointer().checked_next_multiple_of(8)?;
    let (_, stack_end) = unwinder.stack_of(from)?;
    // Threads that stand at the same place mostly have frames of the same size.
    if let Some(hint) = unwinder.hints.get(&at.address).copied()
        && let Some((merit, stack)) = try_place(unwinder, at, row, from + hint, stack_end, memory, limits)
        && merit.complete
        && merit.fit == Fit::Exact
    {
        return Some(stack);
    }
    let mut until = stack_end.min(from.saturating_add(MOST_BYTES)).saturating_sub(8);
    let mut best: Option<(Merit, u64, RawStack)> = None;
    let mut tries = 0;
    let mut place = from;
    while place < until && tries < MOST_TRIES {
        let found = try_place(unwinder, at, row, place, stack_end, memory, limits);
        if let Some((merit, stack)) = found {
            tries += 1;
            if best.as_ref().is_none_or(|(known, ..)| merit > *known) {
                best = Some((merit, place, stack));
                until = until.min(place + SECOND_LOOK);
                if merit >= Merit::BEST {
                    break;
                }
            }
        }
        place += 8;
    }
    let (_, place, stack) = best?;
    unwinder.hints.insert(at.address, place - from);
    Some(stack)
}

/// Takes `place` for the frame pointer's value and sees where that leads.
fn try_place(
    unwinder: &mut Unwinder,
    at: &At,
    row: Option<&Row>,
    place: u64,
    stack_end: u64,
    memory: &mut dyn Memory,
    limits: Limits,
) -> Option<(Merit, RawStack)> {
    // The cheapest look first: nearly all places are refused by it.
    if let Some(offset) = row.map_or(Some(8), Row::by_frame_pointer) {
        let slot = place.checked_add_signed(offset)?;
        if slot.checked_add(8)? > stack_end || !unwinder.is_code(memory.word(slot)?) {
            return None;
        }
    }
    let (return_address, registers) = leave(unwinder, at, row, place, memory)?;
    let fit = match unwinder.callee(return_address, memory)? {
        Callee::Unknown => Fit::Unknown,
        Callee::Known { target, through } => match row {
            Some(row) if target == row.function || through == Some(row.function) => Fit::Exact,
            Some(_) => Fit::Other,
            // Where our function begins is not known, but not where unwind information begins one.
            None if unwinder.has_row(through.unwrap_or(target)) => Fit::Other,
            None => Fit::Unknown,
        },
    };
    let saved = registers.get(number::FRAME);
    let chained = saved.is_some_and(|saved| saved == 0 || saved > place && saved < stack_end && saved % 8 == 0);
    if fit == Fit::Other && !chained {
        return None;
    }
    let mut caller = unwinder.caller(at, row, return_address, registers).ok()?;
    caller.trust = Trust::Recovered;
    let stack = unwinder.walk_from(caller, memory, limits, false);
    let complete = matches!(stack.end, StackEnd::Complete | StackEnd::MaxDepth);
    let called = chained && fit == Fit::Exact;
    let sound = chained
        && (called || stack.frames.len() >= ENOUGH_FRAMES)
        && matches!(stack.end, StackEnd::NoModule | StackEnd::NoUnwindInfo);
    let merit = Merit {
        called,
        complete,
        fit,
        chained,
    };
    (complete || sound).then_some((merit, stack))
}

/// The caller's registers, if the frame pointer were `place`.
fn leave(
    unwinder: &Unwinder,
    at: &At,
    row: Option<&Row>,
    place: u64,
    memory: &mut dyn Memory,
) -> Option<(u64, RegisterFile)> {
    let Some(row) = row else {
        return unwinder.pair(at, place, memory);
    };
    let mut registers = at.registers;
    registers.set(number::FRAME, Some(place));
    match row.apply(&registers, memory) {
        Step::Caller {
            return_address,
            registers,
        } => Some((return_address, registers)),
        _ => None,
    }
}

/// What the call right before `return_address` calls. `None`: there is no call.
pub(super) fn callee(return_address: u64, memory: &mut dyn Memory) -> Option<Callee> {
    const LONGEST: usize = 7;
    let mut before = [0; LONGEST];
    if !memory.code(return_address.checked_sub(LONGEST as u64)?, &mut before) {
        return None;
    }
    match instruction(&before)? {
        Call::Unknown => Some(Callee::Unknown),
        Call::Relative(offset) => {
            let target = return_address.wrapping_add_signed(i64::from(offset));
            Some(Callee::Known {
                target,
                through: stub(target, memory),
            })
        }
        Call::Table(offset) => {
            let slot = return_address.wrapping_add_signed(i64::from(offset));
            let target = table_entry(slot, memory);
            Some(target.map_or(Callee::Unknown, |target| Callee::Known { target, through: None }))
        }
    }
}

/// A call instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Unknown,
    /// So far from the return address.
    Relative(i32),
    /// Whatever a table holds that lies so far from the return address.
    Table(i32),
}

/// The call that ends with the last of these bytes. Instructions cannot be read backwards for certain: what
/// looks like a call may be the end of something longer.
///
/// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: CALL (E8, FF /2), tables 2-2 and 2-3.
#[cfg(not(target_arch = "aarch64"))]
fn instruction(before: &[u8; 7]) -> Option<Call> {
    let number = |at: usize| i32::from_le_bytes([before[at], before[at + 1], before[at + 2], before[at + 3]]);
    if before[2] == 0xe8 {
        return Some(Call::Relative(number(3)));
    }
    if before[1..3] == [0xff, 0x15] {
        return Some(Call::Table(number(3)));
    }
    // FF /2 by the length of what follows: ModRM, perhaps SIB, perhaps a displacement of one or four bytes.
    let is_call = |at: usize| {
        let (opcode, form) = (before[at], before[at + 1]);
        let (mode, of, register) = (form >> 6, form >> 3 & 7, form & 7);
        let sib = mode != 3 && register == 4;
        let displacement = match mode {
            0 if register == 5 || sib && before.get(at + 2).is_some_and(|sib| sib & 7 == 5) => 4,
            1 => 1,
            2 => 4,
            _ => 0,
        };
        opcode == 0xff && of == 2 && at + 2 + usize::from(sib) + displacement == before.len()
    };
    (0..6).any(is_call).then_some(Call::Unknown)
}

/// Source: Arm Architecture Reference Manual: BL, BLR and BLRA.
#[cfg(target_arch = "aarch64")]
fn instruction(before: &[u8; 7]) -> Option<Call> {
    let word = u32::from_le_bytes([before[3], before[4], before[5], before[6]]);
    if word & 0xfc00_0000 == 0x9400_0000 {
        // 26 bits, in words, from the instruction itself.
        return Some(Call::Relative(((word << 6) as i32 >> 4) - 4));
    }
    let is_register = word & 0xffff_fc1f == 0xd63f_0000 || word & 0xfeff_f800 == 0xd63f_0800;
    is_register.then_some(Call::Unknown)
}

/// Where a linkage stub jumps to: `jmp *table(%rip)`, perhaps behind a landing mark or a prefix, or a plain jump.
#[cfg(not(target_arch = "aarch64"))]
fn stub(target: u64, memory: &mut dyn Memory) -> Option<u64> {
    let mut code = [0; 12];
    if !memory.code(target, &mut code) {
        return None;
    }
    let mut at = 0;
    if code[..4] == [0xf3, 0x0f, 0x1e, 0xfa] {
        at += 4;
    }
    if code[at] == 0xf2 {
        at += 1;
    }
    let offset = |at: usize| i64::from(i32::from_le_bytes([code[at], code[at + 1], code[at + 2], code[at + 3]]));
    match code[at..] {
        [0xff, 0x25, ..] => {
            let next = target.checked_add(at as u64 + 6)?;
            table_entry(next.wrapping_add_signed(offset(at + 2)), memory)
        }
        [0xe9, ..] => Some(target.checked_add(at as u64 + 5)?.wrapping_add_signed(offset(at + 1))),
        _ => None,
    }
}

/// Stubs are of several instructions there; whom they call is left open.
#[cfg(target_arch = "aarch64")]
fn stub(_target: u64, _memory: &mut dyn Memory) -> Option<u64> {
    None
}

fn table_entry(slot: u64, memory: &mut dyn Memory) -> Option<u64> {
    let mut entry = [0; 8];
    memory.code(slot, &mut entry).then(|| u64::from_le_bytes(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code at one place, and a table.
    struct Bytes(Vec<(u64, Vec<u8>)>);

    impl Memory for Bytes {
        fn word(&mut self, _: u64) -> Option<u64> {
            None
        }

        fn code(&mut self, address: u64, into: &mut [u8]) -> bool {
            self.0.iter().any(|(start, bytes)| {
                let from = address.wrapping_sub(*start) as usize;
                let Some(bytes) = bytes.get(from..from.saturating_add(into.len())) else {
                    return false;
                };
                into.copy_from_slice(bytes);
                true
            })
        }
    }

    #[cfg(not(target_arch = "aarch64"))]
    #[test]
    fn every_form_of_a_call_is_known_and_nothing_else() {
        let check = |code: &[u8], expected: Option<Call>| {
            let mut before = [0x90; 7];
            before[7 - code.len()..].copy_from_slice(code);
            assert_eq!(instruction(&before), expected, "{code:x?}");
        };
        check(&[0xe8, 0x10, 0, 0, 0], Some(Call::Relative(16)));
        check(&[0xe8, 0xf0, 0xff, 0xff, 0xff], Some(Call::Relative(-16)));
        check(&[0xff, 0x15, 8, 0, 0, 0], Some(Call::Table(8)));
        for indirect in [
            &[0xff, 0xd0][..],                     // call *%rax
            &[0x41, 0xff, 0xd4],                   // call *%r12
            &[0xff, 0x10],                         // call *(%rax)
            &[0xff, 0x14, 0x24],                   // call *(%rsp)
            &[0xff, 0x50, 0x18],                   // call *24(%rax)
            &[0xff, 0x54, 0x24, 8],                // call *8(%rsp)
            &[0xff, 0x90, 0, 1, 0, 0],             // call *256(%rax)
            &[0xff, 0x94, 0x24, 0, 1, 0, 0],       // call *256(%rsp)
            &[0xff, 0x14, 0x25, 0, 0x10, 0x40, 0], // call *0x401000
            &[0xff, 0x14, 0xc5, 0, 0x10, 0x40, 0], // call *0x401000(,%rax,8)
        ] {
            check(indirect, Some(Call::Unknown));
        }
        for other in [
            &[0xe9, 0x10, 0, 0, 0][..], // jmp
            &[0xff, 0xe0],              // jmp *%rax
            &[0xff, 0x30],              // push (%rax)
            &[0xff, 0x25, 8, 0, 0, 0],  // jmp *8(%rip)
            &[0xc3],
            &[0xff, 0xd0, 0x90], // a call, but not the last instruction
            &[],
        ] {
            check(other, None);
        }
    }

    #[cfg(not(target_arch = "aarch64"))]
    #[test]
    fn a_call_through_a_stub_or_a_table_tells_whom_it_calls() {
        let mut stub = vec![0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0xf5, 0x0f, 0, 0];
        stub.resize(32, 0x90);
        let mut memory = Bytes(vec![
            (
                0x1000,
                [
                    &[0x90; 11][..],
                    &[0xe8, 0xf0, 0x0f, 0, 0],
                    &[0xff, 0x15, 0xea, 0x1f, 0, 0],
                ]
                .concat(),
            ),
            (0x2000, stub),
            (0x3000, 0x7000u64.to_le_bytes().to_vec()),
        ]);
        // 0x1010 + 0xff0; the stub's jump ends at 0x200b, and its entry is at 0x3000.
        let through = Callee::Known {
            target: 0x2000,
            through: Some(0x7000),
        };
        assert_eq!(callee(0x1010, &mut memory), Some(through));
        let by_table = Callee::Known {
            target: 0x7000,
            through: None,
        };
        assert_eq!(callee(0x1016, &mut memory), Some(by_table));
        assert_eq!(callee(0x100b, &mut memory), None);
        assert_eq!(callee(0x9000, &mut memory), None);
        assert_eq!(callee(3, &mut memory), None);
    }

    #[test]
    fn the_better_place_wins_whatever_else_speaks_for_the_other() {
        let merit = |called, complete, fit, chained| Merit {
            called,
            complete,
            fit,
            chained,
        };
        assert!(merit(true, false, Fit::Exact, false) > merit(false, true, Fit::Exact, true));
        assert!(merit(false, true, Fit::Unknown, false) > merit(false, false, Fit::Exact, true));
        assert!(merit(false, true, Fit::Exact, false) > merit(false, true, Fit::Unknown, true));
        assert!(merit(false, true, Fit::Unknown, false) > merit(false, true, Fit::Other, true));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_before_an_address_make_it_panic(before: [u8; 7], target: [u8; 12], address: u64) {
            let mut memory = Bytes(vec![(address.wrapping_sub(7), before.to_vec()), (0, target.to_vec())]);
            let _ = callee(address, &mut memory);
            let _ = stub(0, &mut memory);
        }
    }
}
