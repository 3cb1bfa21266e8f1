//! The binary: hands the command line to `cli` and turns its answer into an exit code.

use std::process::ExitCode;

/// Counts each thread's bytes into its ledger slot; costs a nanosecond where no ledger is installed.
#[global_allocator]
static HEAP: threadscape::ledger::Heap = threadscape::ledger::Heap;

fn main() -> ExitCode {
    threadscape::cli::main()
}
