//! `/proc/<pid>/task/<tid>/status`: switches, allowed CPUs, tracer, signal masks, and the ids in other namespaces.
//!
//! Source: Documentation/filesystems/proc.rst, table 1-2, and `proc_pid_status` in fs/proc/array.c.
//! One `Key:\tvalue` a line; a line feed in the name is escaped here, so lines can be trusted.

/// What we ask this file for. A line that this kernel doesn't print is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// The process that the thread belongs to.
    pub process: Option<u32>,
    /// Of the real user.
    pub user: Option<u32>,
    /// Who traces it, as a pid of ours; 0: nobody, or somebody whom we can't see.
    pub tracer: Option<u32>,
    /// The thread's id in its own, innermost pid namespace: the last word of `NSpid`.
    pub innermost_id: Option<u32>,
    /// Its process' id there: the last word of `NStgid`.
    pub innermost_process: Option<u32>,
    /// `Cpus_allowed_list`, as printed.
    pub allowed_cpus: Option<&'a [u8]>,
    pub voluntary_switches: Option<u64>,
    pub involuntary_switches: Option<u64>,
}

pub fn parse(text: &[u8]) -> Status<'_> {
    let mut status = Status::default();
    for line in text.split(|byte| *byte == b'\n') {
        // Cheapest first: most of the fifty lines are told apart by their first bytes.
        let Some((key, value)) = split(line) else { continue };
        match key {
            b"TracerPid" => status.tracer = number(value),
            b"Tgid" => status.process = number(value),
            b"Uid" => status.user = value.split(u8::is_ascii_whitespace).next().and_then(number),
            b"NSpid" => status.innermost_id = value.rsplit(u8::is_ascii_whitespace).next().and_then(number),
            b"NStgid" => status.innermost_process = value.rsplit(u8::is_ascii_whitespace).next().and_then(number),
            b"Cpus_allowed_list" => status.allowed_cpus = Some(value),
            b"voluntary_ctxt_switches" => status.voluntary_switches = number(value),
            b"nonvoluntary_ctxt_switches" => status.involuntary_switches = number(value),
            _ => {}
        }
    }
    status
}

/// The masks of one thread, bit n-1 for signal n. They are asked for seldom, so apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalMasks {
    /// Sent to this thread, and to its process.
    pub pending: u64,
    pub pending_shared: u64,
    pub blocked: u64,
    pub ignored: u64,
    pub caught: u64,
}

/// `None`: a line is missing, as in a file that was cut.
pub fn parse_signals(text: &[u8]) -> Option<SignalMasks> {
    let mask = |key: &[u8]| {
        let mut lines = text.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(key))?;
        u64::from_str_radix(std::str::from_utf8(value).ok()?.trim(), 16).ok()
    };
    Some(SignalMasks {
        pending: mask(b"SigPnd:")?,
        pending_shared: mask(b"ShdPnd:")?,
        blocked: mask(b"SigBlk:")?,
        ignored: mask(b"SigIgn:")?,
        caught: mask(b"SigCgt:")?,
    })
}

/// All ids of the thread, from our pid namespace inwards.
pub fn parse_namespace_ids(text: &[u8]) -> Option<Vec<u32>> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(b"NSpid:"))?;
    let words = std::str::from_utf8(value).ok()?.split_ascii_whitespace();
    words.map(|word| word.parse().ok()).collect()
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if !matches!(line.first()?, b'T' | b'U' | b'N' | b'C' | b'v' | b'n') {
        return None;
    }
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"Name:\tTgid:\\n7\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t13241\nPid:\t13243\nTracerPid:\t77\nUid:\t1000\t0\t0\t0\n\
        NStgid:\t13241\t5\nNSpid:\t13243\t7\nNSpgid:\t13212\t1\nThreads:\t1\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1,4\n\
        voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";

    #[test]
    fn each_line_is_taken_by_its_key() {
        assert_eq!(
            parse(TEXT),
            Status {
                process: Some(13241),
                user: Some(1000),
                tracer: Some(77),
                innermost_id: Some(7),
                innermost_process: Some(5),
                allowed_cpus: Some(b"0-1,4"),
                voluntary_switches: Some(12),
                involuntary_switches: Some(3),
            }
        );
    }

    #[test]
    fn a_line_that_is_not_printed_is_unknown_and_not_zero() {
        let status = parse(b"Name:\tx\nTgid:\tnonsense\nUid:\n\nC\n:\n");
        assert_eq!(status, Status::default());
    }

    #[test]
    fn masks_are_hexadecimal_and_all_or_nothing() {
        let text = b"SigQ:\t0/96365\nSigPnd:\t0000000000000001\nShdPnd:\t0000000000004000\nSigBlk:\t0000000000010000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180000000\n";
        let masks = parse_signals(text).unwrap();
        assert_eq!((masks.pending, masks.pending_shared), (1, 0x4000));
        assert_eq!(
            (masks.blocked, masks.ignored, masks.caught),
            (0x1_0000, 0x1000, 0x1_8000_0000)
        );
        assert_eq!(parse_signals(&text[..60]), None);
        assert_eq!(parse_namespace_ids(TEXT), Some(vec![13243, 7]));
        assert_eq!(parse_namespace_ids(b"NSpid:\tx\n"), None);
    }

    #[test]
    fn it_agrees_with_the_procfs_crate() {
        let theirs = procfs::process::Process::myself().unwrap().status().unwrap();
        let text = std::fs::read("/proc/self/status").unwrap();
        let ours = parse(&text);
        assert_eq!(ours.process, Some(theirs.tgid as u32));
        assert_eq!(ours.user, Some(theirs.ruid));
        assert_eq!(
            ours.innermost_id,
            theirs.nspid.as_ref().and_then(|ids| ids.last().map(|id| *id as u32))
        );
        assert_eq!(ours.tracer, Some(theirs.tracerpid as u32));
        let masks = parse_signals(&text).unwrap();
        assert_eq!((masks.blocked, masks.caught), (theirs.sigblk, theirs.sigcgt));
    }
}
