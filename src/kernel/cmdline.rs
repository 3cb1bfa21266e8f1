//! `/proc/<pid>/cmdline`: the words that a program was started with, as far as it left them.
//!
//! Source: proc_pid_cmdline(5) and `get_mm_cmdline` in fs/proc/base.c. Each word ends with a zero; a program may
//! write anything there. Empty for kernel threads and zombies. It is read from the memory of the process: a
//! page of it that is on a dead disk would hold us up, so it is asked for on request only.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What is longer is cut.
const MOST: usize = 4096;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    pub words: Vec<Vec<u8>>,
    pub cut: bool,
}

pub fn read(folder: &Path) -> io::Result<CommandLine> {
    let mut text = Vec::new();
    File::open(folder.join("cmdline"))?
        .take(MOST as u64 + 1)
        .read_to_end(&mut text)?;
    Ok(parse(&text))
}

pub fn parse(text: &[u8]) -> CommandLine {
    let cut = text.len() > MOST;
    let text = &text[..text.len().min(MOST)];
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    if text.is_empty() {
        return CommandLine { words: Vec::new(), cut };
    }
    CommandLine {
        words: text.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect(),
        cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[u8]) -> Vec<Vec<u8>> {
        parse(text).words
    }

    #[test]
    fn words_end_with_a_zero_and_may_be_empty() {
        assert_eq!(words(b"a\0--b\0"), [&b"a"[..], b"--b"]);
        assert_eq!(words(b"a\0\0c\0"), [&b"a"[..], b"", b"c"]);
        // A program that wrote a title over it needs no zero.
        assert_eq!(words(b"nginx: worker"), [b"nginx: worker"]);
        assert_eq!(words(b""), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_long_one_is_cut() {
        let long = parse(&vec![b'x'; MOST + 1]);
        assert!(long.cut && long.words[0].len() == MOST);
        assert!(!parse(&vec![b'x'; MOST]).cut);
    }

    #[test]
    fn ours_is_that_of_this_program() {
        let ours = read(Path::new("/proc/self")).unwrap();
        let first = std::env::args_os().next().unwrap();
        assert_eq!(ours.words[0], std::os::unix::ffi::OsStrExt::as_bytes(&*first));
    }
}
