//! `/proc/<pid>/comm`: the name alone, for those who look for a process by its name.
//!
//! Source: `comm_show` in fs/proc/base.c: the name, raw, and a line feed. A name may hold line feeds
//! of its own, so only the last one is the kernel's.

/// The name without the kernel's line feed.
pub fn parse(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_feed_is_the_kernels() {
        assert_eq!(parse(b"cat\n"), b"cat");
        assert_eq!(parse(b"a\nb\n\n"), b"a\nb\n");
        assert_eq!(parse(b""), b"");
    }
}
