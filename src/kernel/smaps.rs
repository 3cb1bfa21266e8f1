//! `/proc/<pid>/smaps` and `smaps_rollup`: how much of each mapping is in memory, and of all.
//!
//! Source: Documentation/filesystems/proc.rst and `show_smap` in fs/proc/task_mmu.c. The kernel
//! walks the page tables to answer, so `smaps` costs milliseconds on a big process. The text is
//! taken in as a stream, as a process may have sixty thousand mappings of nine hundred bytes each.
//!
//! Needs ptrace access. Without CONFIG_PROC_PAGE_MONITOR neither file exists; `smaps_rollup` came
//! with Linux 4.14. A process without memory of its own (a kernel thread, a zombie) has an empty
//! `smaps`, and ESRCH for `smaps_rollup`.

use std::io::BufRead;
use std::path::Path;

use super::ProcRoot;
use super::maps::{Mapping, next_line, number, open, parse_line};
use crate::model::{Evidence, Unknown};

/// What the kernel counts in one mapping, or in all. Bytes; the kernel prints KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// In memory.
    pub rss_bytes: u64,
    /// In memory, each page divided by how many processes map it. `smaps` cuts it to whole KiB for
    /// each mapping and `smaps_rollup` once for all, so a sum falls short by less than a KiB each.
    pub pss_bytes: u64,
    pub private_clean_bytes: u64,
    pub private_dirty_bytes: u64,
    pub shared_clean_bytes: u64,
    pub shared_dirty_bytes: u64,
    /// Pages of hugetlbfs, which the kernel leaves out of all of the above.
    pub hugetlb_bytes: u64,
    pub swap_bytes: u64,
    /// The size of a page here; 0 when not told.
    pub page_bytes: u64,
}

impl Figures {
    pub fn private_bytes(&self) -> u64 {
        self.private_clean_bytes + self.private_dirty_bytes
    }

    /// Takes in one line `Name:   12 kB`; other lines (`VmFlags`, fields of newer kernels) say
    /// nothing to us. `None` when a line that we know holds no number.
    fn take(&mut self, line: &[u8]) -> Option<()> {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let field = match name {
            b"Rss" => &mut self.rss_bytes,
            b"Pss" => &mut self.pss_bytes,
            b"Private_Clean" => &mut self.private_clean_bytes,
            b"Private_Dirty" => &mut self.private_dirty_bytes,
            b"Shared_Clean" => &mut self.shared_clean_bytes,
            b"Shared_Dirty" => &mut self.shared_dirty_bytes,
            b"Private_Hugetlb" | b"Shared_Hugetlb" => &mut self.hugetlb_bytes,
            b"Swap" => &mut self.swap_bytes,
            b"KernelPageSize" => &mut self.page_bytes,
            _ => return Some(()),
        };
        let kib = value.trim_ascii().strip_suffix(b"kB")?.trim_ascii_end();
        *field = field.checked_add(number(kib, 10)?.checked_mul(1024)?)?;
        Some(())
    }
}

/// Reads `smaps` of `folder` (a process' folder or a thread's) and hands on each mapping in order.
pub fn read(root: &ProcRoot, folder: &Path, each: impl FnMut(&Mapping<'_>, &Figures)) -> Evidence<()> {
    parse(root, open(root, &folder.join("smaps"))?, each)
}

/// Reads `smaps_rollup` of `folder`.
pub fn read_rollup(root: &ProcRoot, folder: &Path) -> Evidence<Figures> {
    let mut total = None;
    parse(root, open(root, &folder.join("smaps_rollup"))?, |_, figures| {
        total = Some(*figures);
    })?;
    // An ended process gives an empty file when it ended between open and read.
    total.ok_or(if root.is_captured() {
        Unknown::Unreadable
    } else {
        Unknown::Gone
    })
}

/// A header like a line of `maps`, then a line a figure, then the next header.
pub fn parse(root: &ProcRoot, mut lines: impl BufRead, mut each: impl FnMut(&Mapping<'_>, &Figures)) -> Evidence<()> {
    let (mut line, mut header) = (Vec::with_capacity(256), Vec::with_capacity(256));
    let mut figures = Figures::default();
    // Of the figures that every kernel prints this is the last. A record without it was cut off or
    // is of a kernel we do not know: its zeros would be lies.
    let mut whole = false;
    let mut finish = |header: &[u8], figures: &Figures, whole: bool| -> Evidence<()> {
        if header.is_empty() {
            return Ok(());
        }
        if !whole {
            return Err(Unknown::Unreadable);
        }
        each(&parse_line(header).ok_or(Unknown::Unreadable)?, figures);
        Ok(())
    };
    while next_line(root, &mut lines, &mut line)? {
        // Names of figures begin with a capital letter, addresses with a lower-case digit.
        if line[0].is_ascii_uppercase() {
            if header.is_empty() {
                return Err(Unknown::Unreadable);
            }
            figures.take(&line).ok_or(Unknown::Unreadable)?;
            whole |= line.starts_with(b"Private_Dirty:");
        } else {
            finish(&header, &figures, whole)?;
            std::mem::swap(&mut header, &mut line);
            (figures, whole) = (Figures::default(), false);
        }
    }
    finish(&header, &figures, whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STACK: &str = "7ffe823d7000-7ffe823f8000 rw-p 00000000 00:00 0                          [stack]
Size:                132 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                  44 kB
Pss:                  43 kB
Pss_Dirty:            43 kB
Shared_Clean:          1 kB
Shared_Dirty:          2 kB
Private_Clean:         3 kB
Private_Dirty:        38 kB
Referenced:           44 kB
Anonymous:            44 kB
Shared_Hugetlb:     2048 kB
Private_Hugetlb:    4096 kB
Swap:                  8 kB
SwapPss:               8 kB
THPeligible:           0
ProtectionKey:         0
VmFlags: rd wr mr mw me gd ac 
";

    fn gather(text: &[u8]) -> Evidence<Vec<(u64, Vec<u8>, Figures)>> {
        let mut all = Vec::new();
        parse(&ProcRoot::live(), text, |mapping, figures| {
            all.push((mapping.start, mapping.name.to_vec(), *figures));
        })?;
        Ok(all)
    }

    #[test]
    fn every_figure_goes_to_its_mapping() {
        let second = STACK
            .replace("[stack]", "/tmp/Rss: 9 kB (deleted)")
            .replace("44 kB", "48 kB");
        let all = gather(format!("{STACK}{second}").as_bytes()).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[0].2,
            Figures {
                rss_bytes: 44 << 10,
                pss_bytes: 43 << 10,
                private_clean_bytes: 3 << 10,
                private_dirty_bytes: 38 << 10,
                shared_clean_bytes: 1 << 10,
                shared_dirty_bytes: 2 << 10,
                hugetlb_bytes: 6 << 20,
                swap_bytes: 8 << 10,
                page_bytes: 4096,
            }
        );
        assert_eq!(all[1].1, b"/tmp/Rss: 9 kB (deleted)");
        assert_eq!(all[1].2.rss_bytes, 48 << 10);
    }

    #[test]
    fn nothing_is_no_mapping_and_half_a_record_is_refused() {
        assert_eq!(gather(b"").unwrap(), []);
        let cut = &STACK[..STACK.find("Rss").unwrap()];
        assert_eq!(gather(cut.as_bytes()), Err(Unknown::Unreadable));
        assert_eq!(gather(b"Rss: 4 kB\n"), Err(Unknown::Unreadable));
        assert_eq!(
            gather(STACK.replace("44 kB", "many").as_bytes()),
            Err(Unknown::Unreadable)
        );
        assert_eq!(gather(b"\n"), Err(Unknown::Unreadable));
    }

    #[test]
    fn our_rollup_is_near_the_sum_of_our_mappings() {
        let root = ProcRoot::live();
        let folder = root.path().join("self");
        let mut sum = 0;
        read(&root, &folder, |_, figures| sum += figures.rss_bytes).unwrap();
        let rollup = read_rollup(&root, &folder).unwrap();
        // Other tests run in this process; equality is shown on a quiet one, in observe::memory.
        assert!(
            rollup.rss_bytes.abs_diff(sum) < rollup.rss_bytes / 2,
            "{rollup:?} against {sum}"
        );
    }

    #[test]
    fn sixty_thousand_mappings_are_one_pass() {
        let mut text = Vec::new();
        for page in 0..60_000u64 {
            let start = 0x7f00_0000_0000 + page * 8192;
            let header = format!("{start:x}-{:x} rw-p 00000000 00:00 0\n", start + 4096);
            text.extend_from_slice(header.as_bytes());
            text.extend_from_slice(&STACK.as_bytes()[STACK.find('\n').unwrap() + 1..]);
        }
        let all = gather(&text).unwrap();
        assert_eq!(all.len(), 60_000);
        assert_eq!(
            all.iter().map(|(_, _, figures)| figures.rss_bytes).sum::<u64>(),
            60_000 * (44 << 10)
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = gather(&text);
        }

        #[test]
        fn a_cut_anywhere_never_panics_and_invents_nothing(cut in 0..STACK.len()) {
            if let Ok(all) = gather(&STACK.as_bytes()[..cut]) {
                prop_assert!(all.iter().all(|(_, _, figures)| figures.rss_bytes == 44 << 10));
            }
        }
    }
}
