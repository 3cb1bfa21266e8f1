//! New memory for large outputs.
//!
//! The first touch of a page costs more than writing it: the kernel is entered, finds a page and zeroes
//! it. For an output of many megabytes that is most of the time, so we ask for pages of 2 MiB where the
//! system gives them to those who ask.

/// From this many bytes on: several large pages, and more than the allocator keeps for reuse.
const LARGE: usize = 8 << 20;

/// `count` zeros.
pub(super) fn zeros<T: Copy + Default>(count: usize) -> Vec<T> {
    let memory = vec![T::default(); count];
    #[cfg(target_os = "linux")]
    if size_of_val(&memory[..]) >= LARGE {
        advise(&memory);
    }
    memory
}

/// Asks for large pages for the whole pages within `memory`. Whether the kernel follows is its affair.
#[cfg(target_os = "linux")]
fn advise<T>(memory: &[T]) {
    const PAGE: usize = 4096;
    let start = memory.as_ptr().cast::<u8>();
    let skipped = start.align_offset(PAGE);
    let length = (size_of_val(memory).saturating_sub(skipped)) & !(PAGE - 1);
    let pages = start.wrapping_add(skipped).cast_mut().cast();
    // SAFETY: the range lies within `memory`, which is ours; the advice changes neither what it holds nor
    // where it is mapped, only the size of pages not yet touched.
    let _ = unsafe { rustix::mm::madvise(pages, length, rustix::mm::Advice::LinuxHugepage) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_and_small_memory_is_zero_and_writable() {
        for count in [0, 1, 4097, LARGE / 4 - 1, LARGE / 4 + 12_345] {
            let mut memory = zeros::<f32>(count);
            assert_eq!(memory.len(), count);
            assert!(memory.iter().all(|value| *value == 0.0));
            memory.fill(1.0);
            assert!(memory.iter().all(|value| *value == 1.0));
        }
    }
}
