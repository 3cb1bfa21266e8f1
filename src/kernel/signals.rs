//! What a closed pipe does to us.

/// `threadscape threads … | head`: ends quietly when the reader has gone, as other commands do.
///
/// Rust's runtime ignores SIGPIPE, so that a write gives an error; for commands that only print,
/// the default (ending) is what a shell user expects.
pub fn end_on_closed_pipe() {
    // SAFETY: sets a signal's disposition to the system's default; no handler of ours is involved,
    // and it happens before any other thread exists.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
