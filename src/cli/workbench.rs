//! `threadscape workbench`: the child process that hosts pools; started by `serve` and `run` only.

use super::{Exit, Failure};

/// Host worker pools (started by serve and run, not by people)
#[derive(clap::Args)]
pub struct Args {
    /// The process that started it
    #[arg(long)]
    parent: u32,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    match crate::workbench::child_main(args.parent) {
        0 => Ok(Exit::Fine),
        2 => Ok(Exit::Usage),
        _ => Ok(Exit::Invalid),
    }
}
