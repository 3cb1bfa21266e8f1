//! The user registers that a walk up the stack begins with, and where the kernel keeps them.
//!
//! Two sources give all of them: a `perf_event` sample (numbered by `asm/perf_regs.h`) and a stopped
//! tracee's `NT_PRSTATUS` set (`struct user_regs_struct` of `sys/user.h`). Others of the set are of no
//! use to us: unwinding asks for these alone.

/// Of one thread at one moment, in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRegisters {
    pub program_counter: u64,
    pub stack_pointer: u64,
    pub frame_pointer: u64,
    /// AArch64's x30, the return address of a leaf function. x86-64 has no such register.
    pub link: Option<u64>,
}

/// Which registers a sample shall hold: a bit for each.
#[cfg(target_arch = "x86_64")]
pub const SAMPLED: u64 = {
    use perf_event_open_sys::bindings::{PERF_REG_X86_BP, PERF_REG_X86_IP, PERF_REG_X86_SP};
    1 << PERF_REG_X86_BP | 1 << PERF_REG_X86_SP | 1 << PERF_REG_X86_IP
};
#[cfg(target_arch = "aarch64")]
pub const SAMPLED: u64 = {
    use perf_event_open_sys::bindings::{PERF_REG_ARM64_LR, PERF_REG_ARM64_PC, PERF_REG_ARM64_SP, PERF_REG_ARM64_X29};
    1 << PERF_REG_ARM64_X29 | 1 << PERF_REG_ARM64_LR | 1 << PERF_REG_ARM64_SP | 1 << PERF_REG_ARM64_PC
};
/// Elsewhere nothing is sampled.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const SAMPLED: u64 = 0;

/// How many those are.
pub const SAMPLED_COUNT: usize = SAMPLED.count_ones() as usize;

/// The registers of a sample, which come in the order of their bits.
#[cfg(target_arch = "x86_64")]
pub fn of_sample(values: [u64; SAMPLED_COUNT]) -> UserRegisters {
    let [frame_pointer, stack_pointer, program_counter] = values;
    UserRegisters {
        program_counter,
        stack_pointer,
        frame_pointer,
        link: None,
    }
}
#[cfg(target_arch = "aarch64")]
pub fn of_sample(values: [u64; SAMPLED_COUNT]) -> UserRegisters {
    let [frame_pointer, link, stack_pointer, program_counter] = values;
    UserRegisters {
        program_counter,
        stack_pointer,
        frame_pointer,
        link: Some(link),
    }
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn of_sample(_: [u64; SAMPLED_COUNT]) -> UserRegisters {
    UserRegisters {
        program_counter: 0,
        stack_pointer: 0,
        frame_pointer: 0,
        link: None,
    }
}

/// How many words `NT_PRSTATUS` has here. A shorter set is that of a 32-bit program.
#[cfg(target_arch = "x86_64")]
pub const SET_WORDS: usize = 27;
#[cfg(not(target_arch = "x86_64"))]
pub const SET_WORDS: usize = 34;

/// The registers of a stopped tracee.
#[cfg(target_arch = "x86_64")]
pub fn of_set(words: &[u64; SET_WORDS]) -> Option<UserRegisters> {
    // r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss …
    Some(UserRegisters {
        program_counter: words[16],
        stack_pointer: words[19],
        frame_pointer: words[4],
        link: None,
    })
}
#[cfg(target_arch = "aarch64")]
pub fn of_set(words: &[u64; SET_WORDS]) -> Option<UserRegisters> {
    // x0 to x30, sp, pc, pstate.
    Some(UserRegisters {
        program_counter: words[32],
        stack_pointer: words[31],
        frame_pointer: words[29],
        link: Some(words[30]),
    })
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn of_set(_: &[u64; SET_WORDS]) -> Option<UserRegisters> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_set_lies_as_the_c_library_declares_it() {
        let mut words = [0; SET_WORDS];
        for (at, word) in words.iter_mut().enumerate() {
            *word = at as u64 * 8;
        }
        let registers = of_set(&words).unwrap();
        let declared = |offset: usize| offset as u64;
        assert_eq!(
            registers.program_counter,
            declared(std::mem::offset_of!(libc::user_regs_struct, rip))
        );
        assert_eq!(
            registers.stack_pointer,
            declared(std::mem::offset_of!(libc::user_regs_struct, rsp))
        );
        assert_eq!(
            registers.frame_pointer,
            declared(std::mem::offset_of!(libc::user_regs_struct, rbp))
        );
        assert_eq!(size_of::<libc::user_regs_struct>(), SET_WORDS * 8);
    }
}
