//! From frame to frame: unwind information first, the chain of frame pointers where there is none.
//!
//! A walk of a blocked thread begins with two registers, program counter and stack pointer. All others are
//! unknown until a frame gives them back from the stack. Where a frame cannot be left without the frame
//! pointer and that is not known, `recover` looks for it on the stack; what follows is marked. Code
//! without unwind information is left by the frame pointer alone, and only to a place right behind a call.
//! A walk ends: each step goes up the stack, steps over a signal's frame are few, and frames are counted.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::Registers;
use super::cfi::{Lack, RegisterFile, Row, Step, UnwindInfo, number};
use super::reach::Memory;
use super::recover::{self, Callee};
use super::space::{AddressSpace, Module};
use crate::model::{StackEnd, Trust};

/// Signals that interrupted each other's handlers: more of them are a circle.
const MOST_SIGNALS: u8 = 8;
/// Addresses whose rows and callers are kept. What a process runs through is far less; then we begin anew.
const MOST_KEPT: usize = 1 << 17;

/// A frame before its place has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RawFrame {
    pub address: u64,
    /// The address is behind a call, and what is executed is that call.
    pub after_call: bool,
    pub trust: Trust,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RawStack {
    /// Innermost first; never empty.
    pub frames: Vec<RawFrame>,
    pub end: StackEnd,
}

/// Where a walk has to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub depth: usize,
    pub until: Instant,
}

/// Executable memory.
#[derive(Debug)]
struct Code {
    start: u64,
    end: u64,
    bias: u64,
    /// A file stands behind it.
    named: bool,
    module: Option<Arc<Module>>,
}

/// One frame, as far as the walk knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub address: u64,
    pub after_call: bool,
    pub registers: RegisterFile,
    /// How it was found. What follows a recovered frame is recovered.
    pub trust: Trust,
    pub(super) signals: u8,
}

impl At {
    pub fn stack_pointer(&self) -> u64 {
        self.registers.get(number::STACK).unwrap_or(0)
    }

    pub fn frame(&self) -> RawFrame {
        RawFrame {
            address: self.address,
            after_call: self.after_call,
            trust: self.trust,
        }
    }
}

/// What comes after a frame.
pub(super) enum Next {
    Caller(At),
    Ends(StackEnd),
    /// This register has to be found first; the row that asked for it.
    Needs(usize, Option<Rc<Row>>),
}

/// Walks the stacks of one process, as it was mapped at one moment.
pub(super) struct Unwinder {
    code: Vec<Code>,
    /// Where stacks can be, in order.
    writable: Vec<(u64, u64)>,
    info: UnwindInfo,
    rows: HashMap<u64, Result<Rc<Row>, Lack>>,
    callees: HashMap<u64, Option<Callee>>,
    /// Where above the stack pointer the frame pointer was found last time, by the frame's address.
    pub(super) hints: HashMap<u64, u64>,
    /// The last walk came to an address where no code was mapped when we looked.
    strayed: bool,
}

impl Unwinder {
    pub fn new(space: &AddressSpace) -> Unwinder {
        let code = space.mappings.iter().filter(|mapped| mapped.executable);
        let writable = space.mappings.iter().filter(|mapped| mapped.writable);
        Unwinder {
            code: code
                .map(|mapped| Code {
                    start: mapped.start,
                    end: mapped.end,
                    bias: mapped.bias,
                    named: mapped.name.starts_with('/') || &*mapped.name == "[vdso]",
                    module: mapped.module.as_ref().ok().map(Arc::clone),
                })
                .collect(),
            writable: writable.map(|mapped| (mapped.start, mapped.end)).collect(),
            info: UnwindInfo::default(),
            rows: HashMap::new(),
            callees: HashMap::new(),
            hints: HashMap::new(),
            strayed: false,
        }
    }

    /// Walks one stack from these registers.
    pub fn walk(&mut self, registers: &Registers, memory: &mut dyn Memory, limits: Limits) -> RawStack {
        let mut known = RegisterFile::nothing();
        known.set(number::STACK, Some(registers.stack_pointer));
        known.set(number::FRAME, registers.frame_pointer);
        if cfg!(target_arch = "aarch64") {
            known.set(number::RETURN, registers.link);
        }
        let at = At {
            address: registers.program_counter,
            after_call: false,
            registers: known,
            trust: Trust::Context,
            signals: 0,
        };
        self.strayed = self.code(at.address).is_none();
        let stack = self.walk_from(at, memory, limits, true);
        self.strayed |= stack.end == StackEnd::BadUnwindInfo;
        stack
    }

    /// Whether the last walk was hindered by what may have been mapped since the address space was read.
    pub fn has_strayed(&self) -> bool {
        self.strayed
    }

    /// Walks on from a frame, which is the first of what is given back.
    pub fn walk_from(&mut self, from: At, memory: &mut dyn Memory, limits: Limits, may_recover: bool) -> RawStack {
        let mut frames = Vec::with_capacity(24);
        frames.push(from.frame());
        let mut at = from;
        let end = loop {
            if frames.len() >= limits.depth {
                break StackEnd::MaxDepth;
            }
            // A look at the clock costs as much as a step.
            if frames.len() % 32 == 0 && Instant::now() > limits.until {
                break StackEnd::Late;
            }
            match self.next(&at, memory) {
                Next::Caller(caller) => {
                    frames.push(caller.frame());
                    at = caller;
                }
                Next::Ends(end) => break end,
                Next::Needs(register, row) => {
                    let is_lost = register == number::FRAME || register == number::RETURN;
                    if !may_recover || !is_lost {
                        break StackEnd::LostFramePointer;
                    }
                    let rest = Limits {
                        depth: limits.depth - frames.len(),
                        ..limits
                    };
                    // The row of a leaf asks for its return address, and no frame pointer would help it.
                    let row = row.filter(|_| register == number::FRAME);
                    match recover::callers(self, &at, row.as_deref(), memory, rest) {
                        Some(callers) => {
                            frames.extend(callers.frames);
                            break callers.end;
                        }
                        None => break StackEnd::LostFramePointer,
                    }
                }
            }
        };
        RawStack { frames, end }
    }

    fn next(&mut self, at: &At, memory: &mut dyn Memory) -> Next {
        let row = match self.row(at) {
            Ok(row) => row,
            Err(lack) => return self.by_frame_pointer(at, lack, memory),
        };
        match row.apply(&at.registers, memory) {
            Step::Caller {
                return_address,
                registers,
            } => match self.caller(at, Some(&row), return_address, registers) {
                Ok(caller) => Next::Caller(caller),
                Err(end) => Next::Ends(end),
            },
            Step::Start => Next::Ends(StackEnd::Complete),
            Step::Needs(register) => Next::Needs(register, Some(row)),
            Step::Unreadable(_) => Next::Ends(StackEnd::UnreadableStack),
            Step::Nonsense => Next::Ends(StackEnd::BadUnwindInfo),
        }
    }

    /// The frame that a step has led to, if there can be one.
    pub fn caller(
        &self,
        from: &At,
        row: Option<&Row>,
        return_address: u64,
        registers: RegisterFile,
    ) -> Result<At, StackEnd> {
        let address = without_signature(return_address);
        if address == 0 {
            return Err(StackEnd::Complete);
        }
        if self.code(address).is_none() {
            return Err(StackEnd::BadUnwindInfo);
        }
        let signal = row.is_some_and(|row| row.signal);
        let signals = from.signals + u8::from(signal);
        let (old, new) = (from.stack_pointer(), registers.get(number::STACK).unwrap_or(0));
        // Calls leave their return address on the stack; on AArch64 a leaf may leave nothing.
        let goes_up = new > old || cfg!(target_arch = "aarch64") && new == old && address != from.address;
        // A handler may have a stack of its own, anywhere.
        if signals > MOST_SIGNALS || !signal && !goes_up {
            return Err(StackEnd::Looping);
        }
        Ok(At {
            address,
            after_call: !signal,
            registers,
            trust: if from.trust == Trust::Recovered {
                Trust::Recovered
            } else if row.is_some() {
                Trust::Unwound
            } else {
                Trust::FramePointer
            },
            signals,
        })
    }

    /// The step from code without unwind information.
    fn by_frame_pointer(&mut self, at: &At, lack: Lack, memory: &mut dyn Memory) -> Next {
        let named = self.code(at.address).is_some_and(|code| code.named);
        let none = match lack {
            Lack::Nonsense => StackEnd::BadUnwindInfo,
            Lack::Uncovered if named => StackEnd::NoUnwindInfo,
            Lack::Uncovered => StackEnd::NoModule,
        };
        let Some(frame_pointer) = at.registers.get(number::FRAME) else {
            return self.leaf(at, memory).unwrap_or(Next::Needs(number::FRAME, None));
        };
        if frame_pointer == 0 && (named || at.trust == Trust::FramePointer) {
            return Next::Ends(StackEnd::Complete);
        }
        match self.pair(at, frame_pointer, memory) {
            Some((return_address, registers)) if self.callee(return_address, memory).is_some() => {
                match self.caller(at, None, return_address, registers) {
                    Ok(caller) => Next::Caller(caller),
                    Err(_) => Next::Ends(none),
                }
            }
            _ => Next::Ends(none),
        }
    }

    /// Return address and registers of the caller, from the pair that a frame pointer is about.
    pub fn pair(&self, at: &At, frame_pointer: u64, memory: &mut dyn Memory) -> Option<(u64, RegisterFile)> {
        let stack_pointer = at.stack_pointer();
        let (_, end) = self.stack_of(stack_pointer)?;
        if frame_pointer % 8 != 0 || frame_pointer < stack_pointer || frame_pointer.checked_add(16)? > end {
            return None;
        }
        let saved = memory.word(frame_pointer)?;
        let return_address = without_signature(memory.word(frame_pointer + 8)?);
        let mut registers = RegisterFile::nothing();
        registers.set(number::FRAME, Some(saved));
        registers.set(number::STACK, Some(frame_pointer + 16));
        Some((return_address, registers))
    }

    /// A system call made by code without unwind information that has no frame of its own: its return
    /// address would be the first word of the stack.
    fn leaf(&mut self, at: &At, memory: &mut dyn Memory) -> Option<Next> {
        if at.trust != Trust::Context || cfg!(target_arch = "aarch64") {
            return None;
        }
        let return_address = memory.word(at.stack_pointer())?;
        self.callee(return_address, memory)?;
        let mut registers = RegisterFile::nothing();
        registers.set(number::STACK, Some(at.stack_pointer().checked_add(8)?));
        let caller = self.caller(at, None, return_address, registers).ok()?;
        Some(Next::Caller(At {
            trust: Trust::Guessed,
            ..caller
        }))
    }

    /// How to leave this frame.
    pub fn row(&mut self, at: &At) -> Result<Rc<Row>, Lack> {
        if !at.after_call {
            return self.row_at(at.address);
        }
        // The call itself: what is behind it may be another function, when the call never returns.
        match self.row_at(at.address - 1) {
            // A handler returns to the kernel's trampoline, and nothing was called from before it.
            Err(lack) => self.row_at(at.address).ok().filter(|row| row.signal).ok_or(lack),
            row => row,
        }
    }

    fn row_at(&mut self, address: u64) -> Result<Rc<Row>, Lack> {
        if let Some(row) = self.rows.get(&address) {
            return row.clone();
        }
        if self.rows.len() >= MOST_KEPT {
            self.rows.clear();
        }
        let row = match self.code(address) {
            Some(Code {
                module: Some(module),
                bias,
                ..
            }) => {
                let (module, bias) = (Arc::clone(module), *bias);
                self.info.row(&module, bias, address)
            }
            _ => Err(Lack::Uncovered),
        };
        self.rows.insert(address, row.clone());
        row
    }

    /// Whether unwind information is about an address.
    pub fn has_row(&mut self, address: u64) -> bool {
        self.row_at(address).is_ok()
    }

    /// What the call before this address calls. `None`: there is no call there.
    pub fn callee(&mut self, return_address: u64, memory: &mut dyn Memory) -> Option<Callee> {
        self.code(return_address)?;
        if let Some(callee) = self.callees.get(&return_address) {
            return *callee;
        }
        if self.callees.len() >= MOST_KEPT {
            self.callees.clear();
        }
        let callee = recover::callee(return_address, memory);
        self.callees.insert(return_address, callee);
        callee
    }

    /// Whether code can be executed at an address.
    pub fn is_code(&self, address: u64) -> bool {
        self.code(address).is_some()
    }

    fn code(&self, address: u64) -> Option<&Code> {
        let at = self.code.partition_point(|code| code.end <= address);
        self.code.get(at).filter(|code| code.start <= address)
    }

    /// The bounds of the mapping that a stack pointer lies in.
    pub fn stack_of(&self, stack_pointer: u64) -> Option<(u64, u64)> {
        let at = self.writable.partition_point(|(_, end)| *end <= stack_pointer);
        self.writable
            .get(at)
            .copied()
            .filter(|(start, _)| *start <= stack_pointer)
    }
}

/// A return address as it was before AArch64 signed it: addresses of user space have 48 bits there.
fn without_signature(address: u64) -> u64 {
    if cfg!(target_arch = "aarch64") {
        address & 0x0000_ffff_ffff_ffff
    } else {
        address
    }
}
