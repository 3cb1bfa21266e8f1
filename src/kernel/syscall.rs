//! `/proc/<pid>/task/<tid>/syscall`: what a blocked thread asked the kernel for.
//!
//! Source: Documentation/filesystems/proc.rst and lib/syscall.c. The kernel checks that the thread
//! stayed off the CPU across the read, so one line is consistent by itself. Needs ptrace access.

/// One line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syscall {
    /// `running`: on a CPU or waiting for one.
    Running,
    /// In a system call; `number` is `None` when blocked outside one (`-1`: a page fault).
    Blocked {
        number: Option<u64>,
        arguments: [u64; 6],
        stack_pointer: u64,
        program_counter: u64,
    },
}

/// `running`, `-1 SP PC`, or `NR A0 A1 A2 A3 A4 A5 SP PC`; all but the number in hexadecimal.
pub fn parse(line: &str) -> Option<Syscall> {
    let line = line.trim_end();
    if line == "running" {
        return Some(Syscall::Running);
    }
    let mut words = line.split_ascii_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let mut arguments = [0; 6];
    if number >= 0 {
        for argument in &mut arguments {
            *argument = hex()?;
        }
    }
    Some(Syscall::Blocked {
        number: (number >= 0).then_some(number as u64),
        arguments,
        stack_pointer: hex()?,
        program_counter: hex()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_futex_wait_names_its_word_and_its_stack() {
        let line = "202 0x7f01 0x189 0x0 0x0 0x0 0xffffffff 0x7ffc10 0x7f02aa\n";
        assert_eq!(
            parse(line),
            Some(Syscall::Blocked {
                number: Some(202),
                arguments: [0x7f01, 0x189, 0, 0, 0, 0xffff_ffff],
                stack_pointer: 0x7ffc10,
                program_counter: 0x7f02aa,
            })
        );
    }

    #[test]
    fn a_page_fault_has_no_number_and_a_running_thread_no_stack() {
        assert_eq!(parse("running\n"), Some(Syscall::Running));
        assert!(matches!(
            parse("-1 0x10 0x20"),
            Some(Syscall::Blocked {
                number: None,
                stack_pointer: 0x10,
                program_counter: 0x20,
                ..
            })
        ));
    }

    #[test]
    fn a_cut_line_is_refused() {
        for line in ["", "202", "202 0x1 0x2", "-1 0x10", "202 1 2 3 4 5 6 7 8", "x 0x1"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
