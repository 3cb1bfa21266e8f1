//! Sections that a linker has compressed: debug information, and Go's unwind information.

use std::sync::Arc;

use object::read::{CompressedData, CompressionFormat};

use crate::kernel::elf_file;

/// What a section with the `SHF_COMPRESSED` flag holds: it begins with how that was done (kind, reserved, size,
/// alignment: elf(5), `Elf64_Chdr`). `None`: broken, of a kind we lack, or more than `most` bytes.
pub(in crate::observe::stacks) fn decompressed(bytes: &[u8], most: usize) -> Option<Arc<[u8]>> {
    let format = match elf_file::word(bytes, 0)? {
        1 => CompressionFormat::Zlib,
        2 => CompressionFormat::Zstandard,
        _ => return None,
    };
    let uncompressed_size = elf_file::long(bytes, 8)?;
    if uncompressed_size > most as u64 {
        return None;
    }
    let compressed = CompressedData {
        format,
        data: bytes.get(24..)?,
        uncompressed_size,
    };
    Some(compressed.decompress().ok()?.as_ref().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn section(kind: u32, size: u64, data: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(size.to_le_bytes());
        bytes.extend(8u64.to_le_bytes());
        bytes.extend(data);
        bytes
    }

    /// `zlib.compress(b"frames")`.
    const FRAMES: &[u8] = &[120, 156, 75, 43, 74, 204, 77, 45, 6, 0, 8, 172, 2, 127];

    #[test]
    fn a_section_is_had_whole_or_not_at_all() {
        assert_eq!(
            decompressed(&section(1, 6, FRAMES), 100).as_deref(),
            Some(&b"frames"[..])
        );
        assert_eq!(decompressed(&section(1, 6, FRAMES), 5), None);
        assert_eq!(decompressed(&section(3, 6, FRAMES), 100), None);
        assert_eq!(decompressed(&section(1, 6, &FRAMES[..6]), 100), None);
        assert_eq!(decompressed(b"", 100), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(kind in 0u32..4, size in 0u64..5000, data: Vec<u8>) {
            let _ = decompressed(&section(kind, size, &data), 4096);
            let _ = decompressed(&data, 4096);
        }
    }
}
