//! (being built)

use clap::{Parser, Subcommand};
use threadscape::cli::{self, Exit, Failure};

#[global_allocator]
static HEAP: threadscape::ledger::Heap = threadscape::ledger::Heap;

#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(cli::run::Args),
    Check(cli::check::Args),
    #[command(hide = true)]
    Workbench(cli::workbench::Args),
}

fn main() -> std::process::ExitCode {
    let ended: Result<Exit, Failure> = match CommandLine::parse().command {
        Command::Run(args) => cli::run::run(args),
        Command::Check(args) => cli::check::run(args),
        Command::Workbench(args) => cli::workbench::run(args),
    };
    match ended {
        Ok(exit) => std::process::ExitCode::from(exit as u8),
        Err(failure) => {
            eprintln!("threadscape: {}", failure.message);
            std::process::ExitCode::from(failure.exit as u8)
        }
    }
}
