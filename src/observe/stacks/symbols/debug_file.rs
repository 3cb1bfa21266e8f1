//! The separate file with the symbols that a module was stripped of.
//!
//! It is found by build id (`/usr/lib/debug/.build-id/ab/cdef.debug`) or by the name in
//! `.gnu_debuglink`, beside the module, in `.debug` there, or below `/usr/lib/debug`; first as the
//! process sees its files, then as we see ours. A file counts when its build id is the module's, or, where
//! the link is all there is, when the checksum of its bytes is the link's.
//!
//! Left out: `.gnu_debugdata`, the small symbol table that Fedora compresses with xz, and
//! `.gnu_debugaltlink`, by which `dwz` shares DWARF between files (names in it stay unknown).

use std::path::Path;

use crate::kernel::elf_file;
use crate::observe::stacks::space::{Again, Follow, Layout, Opened, Source, at};

/// Larger ones are not worth a checksum.
const MOST_BYTES: u64 = 512 << 20;
const STEP: u64 = 1 << 20;

pub(super) fn find(again: &Again, layout: &Layout, source: &Source<'_>) -> Option<Opened> {
    let ours = Path::new("/proc/self");
    if let Some(id) = &again.module.build_id {
        let path = by_build_id(id);
        let found = [again.folder.as_path(), ours]
            .into_iter()
            .filter_map(|folder| at(folder, path.as_bytes(), Follow::WithinRoot)?.open().ok())
            .find(|file| has_build_id(file, id));
        if found.is_some() {
            return found;
        }
    }
    let link = layout.bytes_of(source, b".gnu_debuglink", 4096)?;
    let (name, checksum) = elf_file::debug_link(&link)?;
    let path = again.path();
    let folder = &path[..path.iter().rposition(|byte| *byte == b'/')?];
    let global = [b"/usr/lib/debug".as_slice(), folder, b"/", name].concat();
    let candidates = [
        (again.folder.as_path(), [folder, b"/", name].concat()),
        (again.folder.as_path(), [folder, b"/.debug/", name].concat()),
        (again.folder.as_path(), global.clone()),
        // Beside a module of the process' own root there is nothing of ours.
        (ours, global),
    ];
    candidates
        .iter()
        .filter_map(|(folder, path)| at(folder, path, Follow::WithinRoot)?.open().ok())
        .find(|file| crc32(file) == Some(checksum))
}

fn by_build_id(id: &[u8]) -> String {
    use std::fmt::Write;
    let mut path = String::from("/usr/lib/debug/.build-id/");
    for (at, byte) in id.iter().enumerate() {
        let _ = write!(path, "{byte:02x}{}", if at == 0 { "/" } else { "" });
    }
    path + ".debug"
}

fn has_build_id(file: &Opened, id: &[u8]) -> bool {
    let source = Source::File(file);
    let notes = Layout::read(&source)
        .ok()
        .and_then(|layout| layout.bytes_of(&source, b".note.gnu.build-id", 4096));
    notes.is_some_and(|notes| elf_file::build_id(&notes) == Some(id))
}

/// The CRC of gdb's documentation, "Debugging Information in Separate Files".
fn crc32(file: &Opened) -> Option<u32> {
    let bytes = file.bytes();
    if bytes > MOST_BYTES {
        return None;
    }
    let mut sum = !0;
    let mut at = 0;
    while at < bytes {
        let step = file.read(at, STEP.min(bytes - at), STEP)?;
        sum = crc32_of(sum, &step);
        at += step.len() as u64;
    }
    Some(!sum)
}

fn crc32_of(sum: u32, bytes: &[u8]) -> u32 {
    let mut sum = sum;
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let (low, high) = eight.split_at(4);
        let low = sum ^ elf_file::word(low, 0).unwrap_or(0);
        let high = elf_file::word(high, 0).unwrap_or(0);
        let of = |table: usize, word: u32, byte: u32| CRC[table][(word >> (byte * 8) & 0xff) as usize];
        sum = (0..4).fold(0, |all, byte| {
            all ^ of(7 - byte as usize, low, byte) ^ of(3 - byte as usize, high, byte)
        });
    }
    for byte in eights.remainder() {
        sum = CRC[0][((sum ^ u32::from(*byte)) & 0xff) as usize] ^ sum >> 8;
    }
    sum
}

/// By how many bytes follow: eight bytes are summed in one step, so that a large file takes a fraction
/// of a second.
static CRC: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xedb8_8320 ^ sum >> 1 } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        let mut table = 1;
        while table < 8 {
            let before = tables[table - 1][byte];
            tables[table][byte] = tables[0][(before & 0xff) as usize] ^ before >> 8;
            table += 1;
        }
        byte += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_that_everyone_uses() {
        // The check value of CRC-32/ISO-HDLC, and lengths around the step of eight.
        assert_eq!(!crc32_of(!0, b"123456789"), 0xcbf4_3926);
        assert_eq!(!crc32_of(!0, b""), 0);
        let whole = crc32_of(!0, b"a text of more than sixteen bytes");
        assert_eq!(crc32_of(crc32_of(!0, b"a text of m"), b"ore than sixteen bytes"), whole);
    }

    #[test]
    fn a_build_id_makes_a_path() {
        assert_eq!(
            by_build_id(&[0xab, 0x01, 0xff]),
            "/usr/lib/debug/.build-id/ab/01ff.debug"
        );
    }
}
