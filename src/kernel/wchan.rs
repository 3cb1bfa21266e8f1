//! `/proc/<pid>/task/<tid>/wchan`: the kernel function that a blocked thread sleeps in.
//!
//! Source: `proc_pid_wchan` in fs/proc/base.c. It prints `0` for a thread that isn't blocked, for a
//! reader without ptrace access, and where the kernel keeps no symbols: the three look the same.

/// The function's name; `None` for `0` and for what is no name.
pub fn parse(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?.trim_end();
    (!text.is_empty() && text != "0" && text.len() <= 128).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_is_no_function() {
        assert_eq!(parse(b"futex_wait_queue"), Some("futex_wait_queue"));
        assert_eq!(parse(b"0"), None);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"\xff"), None);
    }
}
