//! Signals by name: the sets that a thread holds back, and those that wait for it.

/// A set of signals: bit n-1 stands for signal n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SignalSet(pub u64);

/// By number, from 1. The same on x86-64 and AArch64: signal(7).
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

impl SignalSet {
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In order. 32 and 33 are glibc's own, of which programs don't know; real-time signals count from 34, as there.
    pub fn names(self) -> Vec<String> {
        (1..=64u32)
            .filter(|signal| self.0 & (1 << (signal - 1)) != 0)
            .map(|signal| match NAMES.get(signal as usize - 1) {
                Some(name) => (*name).to_owned(),
                None if signal < 34 => format!("SIG{signal}"),
                None if signal == 34 => "SIGRTMIN".to_owned(),
                None => format!("SIGRTMIN+{}", signal - 34),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_is_the_signal_of_its_number() {
        assert_eq!(SignalSet(0).names(), [""; 0]);
        assert_eq!(SignalSet(1 << 14 | 1 << 1).names(), ["SIGINT", "SIGTERM"]);
        assert_eq!(
            SignalSet(1 << 31 | 1 << 33 | 1 << 63).names(),
            ["SIG32", "SIGRTMIN", "SIGRTMIN+30"]
        );
        assert_eq!(SignalSet(u64::MAX).names().len(), 64);
    }

    #[test]
    fn the_names_are_those_of_the_c_library() {
        for (signal, name) in [
            (libc::SIGKILL, "SIGKILL"),
            (libc::SIGCHLD, "SIGCHLD"),
            (libc::SIGSTOP, "SIGSTOP"),
            (libc::SIGWINCH, "SIGWINCH"),
            (libc::SIGSYS, "SIGSYS"),
        ] {
            assert_eq!(SignalSet(1 << (signal - 1)).names(), [name]);
        }
    }
}
