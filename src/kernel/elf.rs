//! The program headers of an ELF file: how long its zero-filled tail (.bss) is in memory.
//!
//! Source: elf(5). A writable segment may take more memory than it has bytes in the file; the rest
//! is zeros. The loader maps the last of them as anonymous memory right behind the file's mapping.
//! Nothing in `/proc` tells that memory from a neighbour's; the headers do. They are taken from the
//! process' memory, where the file's first page is mapped: the file itself may be gone, in another
//! mount namespace, or on a disk that does not answer.

/// Files have a dozen headers; more than this is not a program.
const MOST_HEADERS: usize = 128;
const LOAD: u32 = 1;
const WRITABLE: u32 = 2;

/// How many bytes of memory the last writable segment takes beyond the page where its file bytes
/// end: the length of the anonymous mapping. `None`: not an ELF file, or one without such a tail.
///
/// For little-endian files of both word sizes, which is all that we watch.
pub fn parse_tail(head: &[u8], page_bytes: u64) -> Option<u64> {
    let half = |at: usize| -> Option<u16> { Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?)) };
    let word = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?)) };
    let long = |at: usize| -> Option<u64> { Some(u64::from_le_bytes(*head.get(at..)?.first_chunk()?)) };
    let is_64 = match head.get(..6)? {
        [0x7f, b'E', b'L', b'F', class @ (1 | 2), 1] => *class == 2,
        _ => return None,
    };
    let (first, size, count) = if is_64 {
        (long(32)?, half(54)?, half(56)?)
    } else {
        (u64::from(word(28)?), half(42)?, half(44)?)
    };
    let mut tail = None;
    for n in 0..usize::from(count).min(MOST_HEADERS) {
        let at = usize::try_from(first).ok()?.checked_add(n * usize::from(size))?;
        // Headers elsewhere are not in our hands; and no sum below can overflow.
        if at > head.len() {
            return None;
        }
        let (flags, address, in_file, in_memory) = if is_64 {
            (word(at + 4)?, long(at + 16)?, long(at + 32)?, long(at + 40)?)
        } else {
            let short = |offset: usize| word(at + offset).map(u64::from);
            (word(at + 24)?, short(8)?, short(16)?, short(20)?)
        };
        if word(at)? != LOAD || flags & WRITABLE == 0 {
            continue;
        }
        let up = |end: u64| end.checked_next_multiple_of(page_bytes);
        let file_end = up(address.checked_add(in_file)?)?;
        let memory_end = up(address.checked_add(in_memory)?)?;
        tail = memory_end.checked_sub(file_end).filter(|bytes| *bytes > 0);
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A 64-bit file header with program headers of (type, flags, address, in file, in memory).
    fn file(segments: &[(u32, u32, u64, u64, u64)]) -> Vec<u8> {
        let mut head = vec![0; 64 + 56 * segments.len()];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[32..40].copy_from_slice(&64u64.to_le_bytes());
        head[54..56].copy_from_slice(&56u16.to_le_bytes());
        head[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
        for (n, (kind, flags, address, in_file, in_memory)) in segments.iter().enumerate() {
            let at = 64 + 56 * n;
            head[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            head[at + 4..at + 8].copy_from_slice(&flags.to_le_bytes());
            head[at + 16..at + 24].copy_from_slice(&address.to_le_bytes());
            head[at + 32..at + 40].copy_from_slice(&in_file.to_le_bytes());
            head[at + 40..at + 48].copy_from_slice(&in_memory.to_le_bytes());
        }
        head
    }

    fn check(segments: &[(u32, u32, u64, u64, u64)], expected: Option<u64>) {
        assert_eq!(parse_tail(&file(segments), 4096), expected, "{segments:x?}");
    }

    #[test]
    fn the_tail_is_what_does_not_fit_on_the_last_page_of_the_file() {
        check(
            &[(1, 5, 0, 0x5000, 0x5000), (1, 6, 0x5e00, 0x300, 0x5300)],
            Some(0x5000),
        );
        // Zeros that end on the same page as the data need no mapping.
        check(&[(1, 6, 0x5e00, 0x100, 0x180)], None);
        check(&[(1, 6, 0x5e00, 0x100, 0x300)], Some(0x1000));
        check(&[(1, 5, 0x1000, 0x100, 0x9000)], None);
        check(&[(6, 6, 0x1000, 0x100, 0x9000)], None);
        check(&[], None);
    }

    #[test]
    fn a_file_that_is_no_program_has_no_tail() {
        assert_eq!(parse_tail(b"", 4096), None);
        assert_eq!(parse_tail(b"#!/bin/sh\n", 4096), None);
        assert_eq!(parse_tail(&file(&[(1, 6, u64::MAX, 1, 2)]), 4096), None);
        let whole = file(&[(1, 6, 0, 1, 0x9000)]);
        assert_eq!(parse_tail(&whole[..100], 4096), None);
        let mut far = whole.clone();
        far[32..40].copy_from_slice(&(u64::MAX - 8).to_le_bytes());
        assert_eq!(parse_tail(&far, 4096), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut head: Vec<u8>) {
            let _ = parse_tail(&head, 4096);
            let start = b"\x7fELF\x02\x01";
            head.splice(..head.len().min(6), start.iter().copied());
            let _ = parse_tail(&head, 4096);
        }
    }
}
