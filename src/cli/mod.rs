//! The command line: a file per command, words in, words out.
//!
//! Data goes to stdout, everything else to stderr. A command answers with an [`Exit`] or a
//! [`Failure`], and [`main`] alone turns these into the process' exit code: the numbers are a
//! contract with scripts.

use std::fmt;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub mod check;
pub mod doctor;
pub mod locks;
pub mod memory;
pub mod participant;
pub mod run;
pub mod serve;
pub mod stacks;
mod subject;
pub mod threads;
pub mod workbench;
pub mod workloads;

/// How a command ends. The numbers are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// Something was found: a deadlock, a missed threshold.
    Found = 1,
    /// Bad usage or a bad file.
    Usage = 2,
    /// The run is invalid: the load generator was late.
    Invalid = 3,
    TimeLimit = 4,
    NotAllowed = 5,
}

/// Why a command could not do what it was asked: what is wrong and what to do next.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure {
            exit: Exit::Usage,
            message: message.to_string(),
        }
    }

    pub fn not_allowed(message: impl fmt::Display) -> Failure {
        Failure {
            exit: Exit::NotAllowed,
            message: message.to_string(),
        }
    }

    pub fn other(message: impl fmt::Display) -> Failure {
        Failure {
            exit: Exit::Found,
            message: message.to_string(),
        }
    }
}

/// See what every thread of a Linux process is doing, what it waits for, and what is its own.
#[derive(Parser)]
#[command(
    name = "threadscape",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 fine, 1 something found or a threshold missed, 2 bad usage or bad file, \
                  3 run invalid (the load generator was late), 4 time limit, 5 not allowed."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: dashboard, REST API, live events, Prometheus metrics
    Serve(serve::Args),
    /// Play a scenario without a daemon; the exit code is the verdict
    Run(run::Args),
    /// Show what a scenario would do, or its errors with line numbers
    Check(check::Args),
    /// Every thread of a process: state, clocks, what it waits for
    Threads(threads::Args),
    /// What the memory of a process is for: shared by kind, and each thread's stack
    Memory(memory::Args),
    /// Where every thread of a process stands, without stopping it
    Stacks(stacks::Args),
    /// Who waits for what, held by whom; deadlocks first
    Locks(locks::Args),
    /// The catalogue of algorithms, one of them, or one case solved
    Workloads(workloads::Args),
    /// What can be read here, what can't, why, and the fix for each
    Doctor(doctor::Args),
    /// Host worker pools (started by serve and run, not by people)
    #[command(hide = true)]
    Workbench(workbench::Args),
    /// Take part in an allreduce between processes (one rank of it)
    #[command(hide = true)]
    Participant(participant::Args),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page (roff)
    Man,
}

/// Reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    // clap prints its own messages and exits with 2 on bad usage, 0 on help.
    let line = CommandLine::parse();
    log_to_stderr();
    // Not for those that have something to wind up.
    if !matches!(
        line.command,
        Command::Serve(_) | Command::Run(_) | Command::Workbench(_) | Command::Participant(_)
    ) {
        crate::kernel::signals::end_on_closed_pipe();
    }
    let ended = match line.command {
        Command::Serve(args) => serve::run(args),
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Workloads(args) => workloads::run(args),
        Command::Workbench(args) => workbench::run(args),
        Command::Participant(args) => participant::run(args),
        Command::Threads(args) => threads::run(args),
        Command::Memory(args) => memory::run(args),
        Command::Stacks(args) => stacks::run(args),
        Command::Locks(args) => locks::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut CommandLine::command(),
                "threadscape",
                &mut std::io::stdout(),
            );
            Ok(Exit::Fine)
        }
        Command::Man => manual(),
    };
    match ended {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            eprintln!("threadscape: {}", failure.message);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Warnings and errors; more with `THREADSCAPE_LOG=info` or `THREADSCAPE_LOG=threadscape::http=debug`.
fn log_to_stderr() {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_env_var("THREADSCAPE_LOG")
        .with_default_directive(tracing::Level::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// One page: the command itself, then each subcommand's options.
fn manual() -> Result<Exit, Failure> {
    let mut page = Vec::new();
    let root = CommandLine::command();
    let broken = |error: std::io::Error| Failure::other(format!("could not write the manual page: {error}"));
    clap_mangen::Man::new(root.clone()).render(&mut page).map_err(broken)?;
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        let man = clap_mangen::Man::new(command.clone());
        page.extend_from_slice(b".SH THREADSCAPE ");
        page.extend_from_slice(command.get_name().to_uppercase().as_bytes());
        page.push(b'\n');
        man.render_description_section(&mut page).map_err(broken)?;
        man.render_options_section(&mut page).map_err(broken)?;
    }
    std::io::Write::write_all(&mut std::io::stdout(), &page).map_err(broken)?;
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
