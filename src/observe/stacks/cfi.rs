//! What unwind information says of one address, as a [`Row`]: where the caller's registers are.
//!
//! `.eh_frame` is looked up through `.eh_frame_hdr`, or through a list of our own where there is none,
//! and `.debug_frame` where neither knows the address. A row is copied out of its section, so it can be
//! kept and used for every thread that stands at the same place. **A register that is not known stays
//! unknown**: a row that needs one says which, and gives no frame. That is why the rows are read here
//! and not by an unwinder that holds every register for known.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, EhFrameHdr, Encoding, EndianSlice, Evaluation,
    EvaluationResult, FrameDescriptionEntry, LittleEndian, Location, Register, RegisterRule, UnwindContext,
    UnwindExpression, UnwindSection, Value,
};

use super::reach::Memory;
use super::space::{Module, Section};

/// The numbers that DWARF gives to registers. Source: System V psABI, figure 3.36.
#[cfg(not(target_arch = "aarch64"))]
pub(super) mod number {
    pub const STACK: usize = 7;
    pub const FRAME: usize = 6;
    /// Where the return address has its rule; no register by itself.
    pub const RETURN: usize = 16;
    /// Called functions give these back as they found them: rbx, rbp, r12 to r15.
    pub const KEPT: &[usize] = &[3, 6, 12, 13, 14, 15];
}

/// Source: DWARF for the Arm 64-bit Architecture, section 4.1.
#[cfg(target_arch = "aarch64")]
pub(super) mod number {
    pub const STACK: usize = 31;
    pub const FRAME: usize = 29;
    /// The link register, which holds the return address itself until it is saved.
    pub const RETURN: usize = 30;
    pub const KEPT: &[usize] = &[19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30];
}

/// Those above are not needed to find a caller.
const REGISTERS: usize = if cfg!(target_arch = "aarch64") { 32 } else { 17 };
/// No expression of real unwind information takes more steps.
const MOST_STEPS: u32 = 1000;
/// So many entries of a section without an index are listed.
const MOST_ENTRIES: usize = 4 << 20;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// What is known of a thread's registers in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegisterFile {
    /// A bit for each; the value of an unknown one is 0 and is never given out.
    known: u32,
    values: [u64; REGISTERS],
}

impl RegisterFile {
    pub fn nothing() -> RegisterFile {
        RegisterFile {
            known: 0,
            values: [0; REGISTERS],
        }
    }

    pub fn get(&self, register: usize) -> Option<u64> {
        let value = *self.values.get(register)?;
        (self.known & 1 << register != 0).then_some(value)
    }

    pub fn set(&mut self, register: usize, value: Option<u64>) {
        if let Some(place) = self.values.get_mut(register) {
            *place = value.unwrap_or(0);
            self.known = self.known & !(1 << register) | u32::from(value.is_some()) << register;
        }
    }

    /// What a caller still has of these: the registers that calls keep.
    fn kept(&self) -> RegisterFile {
        let mut kept = RegisterFile::nothing();
        for register in number::KEPT {
            kept.set(*register, self.get(*register));
        }
        kept
    }
}

/// Where a register of the caller is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Undefined,
    Same,
    /// In memory, so far from the frame's address.
    At(i64),
    /// It is the frame's address and so much.
    Is(i64),
    Register(usize),
    AtExpression(Box<[u8]>),
    IsExpression(Box<[u8]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum FrameAddress {
    Register(usize, i64),
    Expression(Box<[u8]>),
}

/// How to get from one address to its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Where the function begins, in the process' memory.
    pub function: u64,
    /// The kernel called this frame, for a signal: the caller stands at an instruction, not behind a call.
    pub signal: bool,
    frame: FrameAddress,
    return_address: How,
    saved: Box<[(u8, How)]>,
    encoding: Encoding,
}

/// Why a row gives no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nobody called this frame.
    Start,
    /// This register would have to be known.
    Needs(usize),
    /// This word of the stack could not be read.
    Unreadable(u64),
    Nonsense,
}

impl Row {
    /// The return address, and the caller's registers.
    pub fn apply(&self, registers: &RegisterFile, memory: &mut dyn Memory) -> Result<(u64, RegisterFile), Stop> {
        if self.return_address == How::Undefined {
            return Err(Stop::Start);
        }
        let frame = match &self.frame {
            FrameAddress::Register(register, offset) => registers
                .get(*register)
                .ok_or(Stop::Needs(*register))?
                .wrapping_add_signed(*offset),
            FrameAddress::Expression(code) => self.evaluate(code, None, registers, memory)?,
        };
        let return_address = self
            .worth(&self.return_address, number::RETURN, frame, registers, memory)?
            .ok_or(Stop::Nonsense)?;
        let mut theirs = registers.kept();
        // By the psABI the frame's address is what the stack pointer was before the call.
        theirs.set(number::STACK, Some(frame));
        for (register, how) in &self.saved {
            let register = usize::from(*register);
            // What cannot be found stays unknown, until something needs it.
            let value = self.worth(how, register, frame, registers, memory).unwrap_or(None);
            theirs.set(register, value);
        }
        if cfg!(target_arch = "aarch64") {
            theirs.set(number::RETURN, Some(return_address));
        }
        Ok((return_address, theirs))
    }

    fn worth(
        &self,
        how: &How,
        register: usize,
        frame: u64,
        registers: &RegisterFile,
        memory: &mut dyn Memory,
    ) -> Result<Option<u64>, Stop> {
        let mut word = |address| memory.word(address).map(Some).ok_or(Stop::Unreadable(address));
        match how {
            How::Undefined => Ok(None),
            How::Same => registers.get(register).map(Some).ok_or(Stop::Needs(register)),
            How::Register(other) => registers.get(*other).map(Some).ok_or(Stop::Needs(*other)),
            How::At(offset) => word(frame.wrapping_add_signed(*offset)),
            How::Is(offset) => Ok(Some(frame.wrapping_add_signed(*offset))),
            How::AtExpression(code) => {
                let address = self.evaluate(code, Some(frame), registers, memory)?;
                memory.word(address).map(Some).ok_or(Stop::Unreadable(address))
            }
            How::IsExpression(code) => self.evaluate(code, Some(frame), registers, memory).map(Some),
        }
    }

    /// DWARF 5, section 6.4.2: expressions of registers find the frame's address on their stack.
    fn evaluate(
        &self,
        code: &[u8],
        frame: Option<u64>,
        registers: &RegisterFile,
        memory: &mut dyn Memory,
    ) -> Result<u64, Stop> {
        let mut evaluation = Evaluation::new(EndianSlice::new(code, LittleEndian), self.encoding);
        evaluation.set_max_iterations(MOST_STEPS);
        if let Some(frame) = frame {
            evaluation.set_initial_value(frame);
        }
        let mut result = evaluation.evaluate();
        loop {
            result = match result.map_err(|_| Stop::Nonsense)? {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let register = usize::from(register.0);
                    let value = registers.get(register).ok_or(Stop::Needs(register))?;
                    evaluation.resume_with_register(Value::Generic(value))
                }
                EvaluationResult::RequiresMemory { address, size, .. } => {
                    let word = memory.word(address).ok_or(Stop::Unreadable(address))?;
                    let value = match size {
                        1..8 => word & ((1 << (size * 8)) - 1),
                        _ => word,
                    };
                    evaluation.resume_with_memory(Value::Generic(value))
                }
                EvaluationResult::RequiresCallFrameCfa => {
                    evaluation.resume_with_call_frame_cfa(frame.ok_or(Stop::Nonsense)?)
                }
                EvaluationResult::RequiresRelocatedAddress(address) => {
                    evaluation.resume_with_relocated_address(address)
                }
                _ => return Err(Stop::Nonsense),
            };
        }
        match evaluation.as_result() {
            [piece] => match piece.location {
                Location::Address { address } => Ok(address),
                Location::Value {
                    value: Value::Generic(value),
                } => Ok(value),
                _ => Err(Stop::Nonsense),
            },
            _ => Err(Stop::Nonsense),
        }
    }

    /// Whether this is a function's usual frame: its address is the frame pointer's value and so much, and the
    /// return address lies below it. Then gives the place of the return address, from the frame pointer.
    pub fn by_frame_pointer(&self) -> Option<i64> {
        match (&self.frame, &self.return_address) {
            (FrameAddress::Register(number::FRAME, offset), How::At(at)) => offset.checked_add(*at),
            _ => None,
        }
    }
}

/// Why there is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// No unwind information is about this address.
    Uncovered,
    /// There is some, and it makes no sense.
    Nonsense,
}

/// One section with its entries, looked up by address.
enum Entries {
    None,
    /// By `.eh_frame_hdr`, which is in order already.
    Header,
    /// Of our own: begin, end and place of each entry, in order of their beginnings.
    Listed(Vec<(u64, u64, usize)>),
}

/// The sections of one module.
struct Tables {
    module: Arc<Module>,
    bases: BaseAddresses,
    eh_frame: Entries,
    debug_frame: Option<Entries>,
}

/// The unwind information of all modules of a process.
pub(super) struct UnwindInfo {
    tables: HashMap<*const Module, Tables>,
    context: UnwindContext<usize>,
}

impl Default for UnwindInfo {
    fn default() -> UnwindInfo {
        UnwindInfo {
            tables: HashMap::new(),
            context: UnwindContext::new(),
        }
    }
}

impl UnwindInfo {
    /// The row for an address of `module`, which lies `bias` above where its file says.
    pub fn row(&mut self, module: &Arc<Module>, bias: u64, address: u64) -> Result<Rc<Row>, Lack> {
        let stated = address.wrapping_sub(bias);
        let tables = self
            .tables
            .entry(Arc::as_ptr(module))
            .or_insert_with(|| Tables::new(Arc::clone(module)));
        let context = &mut self.context;
        let bases = &tables.bases;
        if let Some(section) = &module.eh_frame {
            let eh_frame = eh_frame(section);
            let place = match &tables.eh_frame {
                Entries::None => None,
                Entries::Header => by_header(module, bases, stated),
                Entries::Listed(list) => by_list(list, stated),
            };
            if let Some(place) = place {
                match row(&eh_frame, place, bases, context, bias, stated) {
                    Err(Lack::Uncovered) => {}
                    known => return known.map(Rc::new),
                }
            }
        }
        let Some(section) = &module.debug_frame else {
            return Err(Lack::Uncovered);
        };
        let debug_frame = debug_frame(section);
        let entries = tables
            .debug_frame
            .get_or_insert_with(|| Entries::Listed(listed(&debug_frame, bases)));
        let Entries::Listed(list) = entries else {
            return Err(Lack::Uncovered);
        };
        let place = by_list(list, stated).ok_or(Lack::Uncovered)?;
        row(&debug_frame, place, bases, context, bias, stated).map(Rc::new)
    }
}

impl Tables {
    fn new(module: Arc<Module>) -> Tables {
        let mut bases = BaseAddresses::default();
        if let Some(section) = &module.eh_frame {
            bases = bases.set_eh_frame(section.start);
        }
        if let Some(section) = &module.eh_frame_hdr {
            bases = bases.set_eh_frame_hdr(section.start);
        }
        if let Some((start, _)) = module.text {
            bases = bases.set_text(start);
        }
        if let Some((start, _)) = module.got {
            bases = bases.set_got(start);
        }
        let entries = match (&module.eh_frame, &module.eh_frame_hdr) {
            (None, _) => Entries::None,
            (Some(_), Some(header)) if has_table(header, &bases) => Entries::Header,
            (Some(section), _) => Entries::Listed(listed(&eh_frame(section), &bases)),
        };
        Tables {
            module,
            bases,
            eh_frame: entries,
            debug_frame: None,
        }
    }
}

impl std::fmt::Debug for UnwindInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.tables.values().map(|tables| &tables.module.name);
        f.debug_list().entries(names).finish()
    }
}

fn eh_frame(section: &Section) -> EhFrame<Bytes<'_>> {
    let mut eh_frame = EhFrame::new(&section.bytes, LittleEndian);
    eh_frame.set_address_size(8);
    if cfg!(target_arch = "aarch64") {
        eh_frame.set_vendor(gimli::Vendor::AArch64);
    }
    eh_frame
}

fn debug_frame(section: &Section) -> DebugFrame<Bytes<'_>> {
    let mut debug_frame = DebugFrame::new(&section.bytes, LittleEndian);
    debug_frame.set_address_size(8);
    if cfg!(target_arch = "aarch64") {
        debug_frame.set_vendor(gimli::Vendor::AArch64);
    }
    debug_frame
}

fn has_table(header: &Section, bases: &BaseAddresses) -> bool {
    EhFrameHdr::new(&header.bytes, LittleEndian)
        .parse(bases, 8)
        .is_ok_and(|header| header.table().is_some())
}

/// Where the entry that may be about `stated` begins in `.eh_frame`.
fn by_header(module: &Module, bases: &BaseAddresses, stated: u64) -> Option<usize> {
    let header = module.eh_frame_hdr.as_ref()?;
    let header = EhFrameHdr::new(&header.bytes, LittleEndian).parse(bases, 8).ok()?;
    let table = header.table()?;
    let entry = table.lookup(stated, bases).ok()?.direct().ok()?;
    // Not by gimli's `pointer_to_offset`, which takes an entry to lie behind the section's beginning.
    let begin = header.eh_frame_ptr().direct().ok()?;
    usize::try_from(entry.checked_sub(begin)?).ok()
}

fn by_list(list: &[(u64, u64, usize)], stated: u64) -> Option<usize> {
    let after = list.partition_point(|(begin, ..)| *begin <= stated);
    let (_, end, place) = list[..after].last()?;
    (stated < *end).then_some(*place)
}

/// Goes through a whole section once. Ends at the first entry that cannot be read.
fn listed<'a, S: UnwindSection<Bytes<'a>>>(section: &S, bases: &BaseAddresses) -> Vec<(u64, u64, usize)>
where
    S::Offset: Copy,
{
    let mut list = Vec::new();
    let mut entries = section.entries(bases);
    while let Ok(Some(entry)) = entries.next() {
        if let CieOrFde::Fde(partial) = entry
            && let Ok(entry) = partial.parse(S::cie_from_offset)
        {
            list.push((entry.initial_address(), entry.end_address(), entry.offset()));
            if list.len() == MOST_ENTRIES {
                break;
            }
        }
    }
    list.sort_unstable();
    list
}

fn row<'a, S: UnwindSection<Bytes<'a>>>(
    section: &S,
    place: usize,
    bases: &BaseAddresses,
    context: &mut UnwindContext<usize>,
    bias: u64,
    stated: u64,
) -> Result<Row, Lack> {
    let entry: FrameDescriptionEntry<Bytes<'a>> = section
        .fde_from_offset(bases, place.into(), S::cie_from_offset)
        .map_err(|_| Lack::Nonsense)?;
    if !entry.contains(stated) {
        return Err(Lack::Uncovered);
    }
    let encoding = entry.cie().encoding();
    let returns = entry.cie().return_address_register();
    let row = entry
        .unwind_info_for_address(section, bases, context, stated)
        .map_err(|_| Lack::Nonsense)?;
    let copied = |expression: &UnwindExpression<usize>| -> Result<Box<[u8]>, Lack> {
        let expression = expression.get(section).map_err(|_| Lack::Nonsense)?;
        Ok(expression.0.slice().into())
    };
    let known = |register: Register| -> Result<usize, Lack> {
        let register = usize::from(register.0);
        (register < REGISTERS).then_some(register).ok_or(Lack::Nonsense)
    };
    let frame = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => FrameAddress::Register(known(*register)?, *offset),
        CfaRule::Expression(expression) => FrameAddress::Expression(copied(expression)?),
    };
    let how = |rule: &RegisterRule<usize>| -> Result<How, Lack> {
        Ok(match rule {
            RegisterRule::Undefined => How::Undefined,
            RegisterRule::SameValue => How::Same,
            RegisterRule::Offset(offset) => How::At(*offset),
            RegisterRule::ValOffset(offset) => How::Is(*offset),
            RegisterRule::Register(register) => How::Register(known(*register)?),
            RegisterRule::Expression(expression) => How::AtExpression(copied(expression)?),
            RegisterRule::ValExpression(expression) => How::IsExpression(copied(expression)?),
            _ => return Err(Lack::Nonsense),
        })
    };
    let mut saved = Vec::new();
    let mut return_address = None;
    for (register, rule) in row.registers() {
        if *register == returns {
            return_address = Some(how(rule)?);
        } else if usize::from(register.0) < REGISTERS {
            saved.push((register.0 as u8, how(rule)?));
        }
    }
    let return_address = match return_address {
        Some(how) => how,
        // AArch64: it is still where the call has put it. Elsewhere it lies on the stack, and must be told.
        None if cfg!(target_arch = "aarch64") => How::Same,
        None => return Err(Lack::Nonsense),
    };
    Ok(Row {
        function: entry.initial_address().wrapping_add(bias),
        signal: entry.is_signal_trampoline(),
        frame,
        return_address,
        saved: saved.into(),
        encoding,
    })
}

#[cfg(test)]
mod tests {
    use super::super::space::Origin;
    use super::*;
    use std::collections::BTreeMap;

    struct Words(BTreeMap<u64, u64>);

    impl Memory for Words {
        fn word(&mut self, address: u64) -> Option<u64> {
            self.0.get(&address).copied()
        }

        fn code(&mut self, _: u64, _: &mut [u8]) -> bool {
            false
        }
    }

    fn module(eh_frame: Option<Vec<u8>>, eh_frame_hdr: Option<Vec<u8>>, debug_frame: Option<Vec<u8>>) -> Arc<Module> {
        let section = |bytes: Option<Vec<u8>>| {
            bytes.map(|bytes| Section {
                start: 0x8000,
                bytes: bytes.into(),
            })
        };
        Arc::new(Module {
            id: 1,
            name: "/test".into(),
            origin: Origin::Vdso,
            build_id: None,
            own_name: None,
            eh_frame: section(eh_frame),
            eh_frame_hdr: section(eh_frame_hdr),
            debug_frame: section(debug_frame),
            text: None,
            got: None,
            extent: (0, 0x10000),
            segments: Vec::new(),
        })
    }

    /// One function at 0x1000 of 0x100 bytes, whose frame these instructions describe. By default its address is
    /// the stack pointer and 8, with the return address right below.
    fn entry(instructions: &[u8]) -> Vec<u8> {
        let mut cie = vec![0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1];
        cie.resize(20, 0);
        let mut section = (cie.len() as u32).to_le_bytes().to_vec();
        section.extend(cie);
        let mut fde = (section.len() as u32 + 4).to_le_bytes().to_vec();
        fde.extend(0x1000u64.to_le_bytes());
        fde.extend(0x100u64.to_le_bytes());
        fde.extend(instructions);
        fde.resize(fde.len().next_multiple_of(8) + 4, 0);
        section.extend((fde.len() as u32).to_le_bytes());
        section.extend(fde);
        section.extend([0; 4]);
        section
    }

    const BIAS: u64 = 0x7000_0000;

    fn row_of(instructions: &[u8]) -> Rc<Row> {
        let module = module(Some(entry(instructions)), None, None);
        UnwindInfo::default().row(&module, BIAS, BIAS + 0x1010).unwrap()
    }

    fn registers(stack: u64, frame: Option<u64>) -> RegisterFile {
        let mut registers = RegisterFile::nothing();
        registers.set(number::STACK, Some(stack));
        registers.set(number::FRAME, frame);
        registers
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_row_by_the_stack_pointer_needs_nothing_else() {
        let row = row_of(&[]);
        assert_eq!((row.function, row.signal), (BIAS + 0x1000, false));
        let mut memory = Words([(0x500, 0x1234)].into());
        let step = row.apply(&registers(0x500, None), &mut memory);
        assert_eq!(step, Ok((0x1234, registers(0x508, None))));
        assert_eq!(
            row.apply(&registers(0x600, None), &mut memory),
            Err(Stop::Unreadable(0x600))
        );
        assert_eq!(row.by_frame_pointer(), None);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_row_by_the_frame_pointer_says_that_it_needs_it() {
        // The frame's address is rbp and 16; rbp was saved 16 below.
        let row = row_of(&[0x0c, 6, 16, 0x86, 2]);
        let mut memory = Words([(0x700, 0x900), (0x708, 0x1234)].into());
        assert_eq!(
            row.apply(&registers(0x500, None), &mut memory),
            Err(Stop::Needs(number::FRAME))
        );
        assert_eq!(
            row.apply(&registers(0x500, Some(0x700)), &mut memory),
            Ok((0x1234, registers(0x710, Some(0x900))))
        );
        assert_eq!(row.by_frame_pointer(), Some(8));
        // What was saved and cannot be read is unknown, and harms nobody yet.
        let mut half = Words([(0x708, 0x1234)].into());
        assert_eq!(
            row.apply(&registers(0x500, Some(0x700)), &mut half),
            Ok((0x1234, registers(0x710, None)))
        );
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn an_expression_may_read_the_stack() {
        // The frame's address is what lies 8 below rbp: functions that align their stack do so.
        let row = row_of(&[0x0f, 3, 0x76, 0x78, 0x06]);
        let mut memory = Words([(0x6f8, 0x800), (0x7f8, 0x1234)].into());
        assert_eq!(
            row.apply(&registers(0x500, None), &mut memory),
            Err(Stop::Needs(number::FRAME))
        );
        let (return_address, theirs) = row.apply(&registers(0x500, Some(0x700)), &mut memory).unwrap();
        assert_eq!((return_address, theirs.get(number::STACK)), (0x1234, Some(0x800)));
        // For ever and ever: `skip` to itself.
        let circle = row_of(&[0x0f, 3, 0x2f, 0xfd, 0xff]);
        assert_eq!(circle.apply(&registers(0x500, None), &mut memory), Err(Stop::Nonsense));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_return_address_that_is_undefined_is_the_threads_start() {
        let row = row_of(&[0x07, 16]);
        assert_eq!(
            row.apply(&registers(0x500, None), &mut Words(BTreeMap::new())),
            Err(Stop::Start)
        );
    }

    #[test]
    fn an_address_that_no_entry_is_about_has_no_row() {
        let mut info = UnwindInfo::default();
        let module = module(Some(entry(&[])), None, None);
        for address in [0, 0xfff, 0x1100, u64::MAX] {
            assert_eq!(
                info.row(&module, BIAS, BIAS.wrapping_add(address)),
                Err(Lack::Uncovered)
            );
        }
        assert!(info.row(&module, BIAS, BIAS + 0x10ff).is_ok());
        let empty = self::module(None, None, None);
        assert_eq!(info.row(&empty, 0, 0x1000), Err(Lack::Uncovered));
    }

    proptest::proptest! {
        #[test]
        fn no_sections_make_it_panic(eh in proptest::option::of(proptest::collection::vec(0u8.., 0..200)),
            header in proptest::option::of(proptest::collection::vec(0u8.., 0..64)),
            debug in proptest::option::of(proptest::collection::vec(0u8.., 0..200)),
            address: u64)
        {
            let mut info = UnwindInfo::default();
            let module = module(eh, header, debug);
            if let Ok(row) = info.row(&module, 0, address) {
                let _ = row.apply(&registers(0x500, Some(0x700)), &mut Words(BTreeMap::new()));
            }
        }

        #[test]
        fn no_instructions_make_it_panic_or_go_on_for_ever(instructions: Vec<u8>, frame: Option<u64>, word: u64) {
            let module = module(Some(entry(&instructions)), None, None);
            if let Ok(row) = UnwindInfo::default().row(&module, BIAS, BIAS + 0x1010) {
                let mut memory = Words([(0x500, word), (0x4f8, word)].into());
                let _ = row.apply(&registers(0x500, frame), &mut memory);
            }
        }
    }
}
