//! Names as their programmers wrote them: Rust's without the hash, C++'s without the return type.
//!
//! A name is what a stranger's file says: it need not be text, may be megabytes long, and a mangled name
//! of a few bytes can unfold to gigabytes. So both ends are bounded, and what does not fit stays raw.

use std::fmt::{self, Write};
use std::sync::Arc;

/// The longest name that is shown; longer ones are cut. Templates reach a few kilobytes.
pub(super) const MOST_BYTES: usize = 4096;

pub(super) fn plain(raw: &[u8]) -> Arc<str> {
    let cut = &raw[..raw.len().min(MOST_BYTES)];
    let text = String::from_utf8_lossy(cut);
    // Only a whole name can be taken apart. A version (`@@GLIBC_2.34`) is no part of it, nor is the mark of a
    // jump to another module.
    let whole = text.split_once('@').map_or(&*text, |(name, _)| name);
    if raw.len() <= MOST_BYTES
        && let Some(mut plain) = rust(whole).or_else(|| cpp(whole))
    {
        if text.ends_with("@plt") {
            plain.push_str("@plt");
        }
        return plain.into();
    }
    text.into()
}

fn rust(name: &str) -> Option<String> {
    if !(name.starts_with("_R") || name.starts_with("_ZN")) {
        return None;
    }
    let mut plain = Bounded::default();
    write!(plain, "{:#}", rustc_demangle::try_demangle(name).ok()?).ok()?;
    Some(plain.0)
}

fn cpp(name: &str) -> Option<String> {
    if !name.starts_with("_Z") {
        return None;
    }
    let parse = cpp_demangle::ParseOptions::default().recursion_limit(96);
    let show = cpp_demangle::DemangleOptions::new()
        .no_return_type()
        .recursion_limit(96);
    let symbol = cpp_demangle::BorrowedSymbol::new_with_options(name.as_bytes(), &parse).ok()?;
    let mut plain = Bounded::default();
    symbol.structured_demangle(&mut plain, &show).ok()?;
    Some(plain.0)
}

/// Text that refuses to grow beyond the bound, which ends whatever writes it.
#[derive(Debug, Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.0.len() + more.len() > MOST_BYTES {
            return Err(fmt::Error);
        }
        self.0.push_str(more);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(raw: &str, expected: &str) {
        assert_eq!(&*plain(raw.as_bytes()), expected);
    }

    #[test]
    fn names_are_as_their_programmers_wrote_them() {
        check("main", "main");
        check("_ZN3std2io4Read4read17h0123456789abcdefE", "std::io::Read::read");
        check("_RNvCs15kBYyAo9fc_7mycrate7example", "mycrate::example");
        check(
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "std::vector<int, std::allocator<int> >::push_back(int const&)",
        );
        check("_Z3maxIiET_S0_S0_", "max<int>(int, int)");
        check("pthread_cond_wait@@GLIBC_2.3.2", "pthread_cond_wait@@GLIBC_2.3.2");
        check("_Znwm@@GLIBCXX_3.4", "operator new(unsigned long)");
        check("_Znwm@plt", "operator new(unsigned long)@plt");
        check("_Znonsense", "_Znonsense");
    }

    #[test]
    fn a_name_that_unfolds_without_end_stays_raw_and_a_long_one_is_cut() {
        // `S_` is the template, and each pair after the first is of two of the one before: it doubles.
        let bomb = |pairs: usize| {
            let digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
            let pair = |digit: char| format!("S_IS{digit}_S{digit}_E");
            format!(
                "_Z1fSt4pairIiiE{}",
                digits.chars().take(pairs).map(pair).collect::<String>()
            )
        };
        let small = "f(std::pair<int, int>, std::pair<std::pair<int, int>, std::pair<int, int> >)";
        check(&bomb(1), small);
        for pairs in 9..36 {
            check(&bomb(pairs), &bomb(pairs));
        }
        assert_eq!(plain(&vec![b'x'; 100_000]).len(), MOST_BYTES);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_name(raw: Vec<u8>, tail in "[A-Za-z0-9_]{0,60}") {
            let _ = plain(&raw);
            let _ = plain(format!("_Z{tail}").as_bytes());
            let _ = plain(format!("_R{tail}").as_bytes());
        }
    }
}
