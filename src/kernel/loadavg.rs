//! `/proc/loadavg`: how many threads wanted a CPU or a disk over 1, 5 and 15 minutes.
//!
//! Source: Documentation/filesystems/proc.rst. Its last word is the newest pid of the namespace: it
//! counts the threads of the whole machine, so it can't say how many of one process came and went.

use std::fs;
use std::io;

use super::ProcRoot;

pub fn read(root: &ProcRoot) -> io::Result<Option<[f64; 3]>> {
    Ok(parse(&fs::read_to_string(root.path().join("loadavg"))?))
}

pub fn parse(line: &str) -> Option<[f64; 3]> {
    let mut words = line.split_ascii_whitespace();
    let mut next = || words.next()?.parse().ok().filter(|load: &f64| load.is_finite());
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_words_are_the_averages() {
        assert_eq!(parse("0.20 0.18 0.12 1/80 11206\n"), Some([0.20, 0.18, 0.12]));
        assert_eq!(parse("0.20 0.18"), None);
        assert_eq!(parse("nan 1 2"), None);
    }
}
