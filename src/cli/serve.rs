//! `threadscape serve`: the daemon, in the foreground until a signal ends it.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Exit, Failure};
use crate::config::{Config, ConfigError};
use crate::daemon;
use crate::kernel::ProcRoot;

/// Run the daemon: dashboard, REST API, live events, Prometheus metrics.
#[derive(clap::Args)]
pub struct Args {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:7717]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Settings; config/threadscape.toml lists them all
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Play this scenario from the start
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Where token, lock and finished runs live
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
    /// Read a captured /proc tree instead of this machine's
    #[arg(long, value_name = "DIR")]
    procfs: Option<PathBuf>,
    /// Listen beyond loopback although there is no TLS: whoever sees the traffic sees the token
    #[arg(long)]
    insecure_listen: bool,
    /// Print the settings in force, each with where it came from, and exit
    #[arg(long)]
    print_config: bool,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    let mut config = Config::new();
    settle(&mut config, &args).map_err(Failure::usage)?;
    if let Some(tree) = &args.procfs {
        if !tree.is_dir() {
            return Err(Failure::usage(format!(
                "--procfs: {} is not a folder; give the root of a captured /proc tree",
                tree.display()
            )));
        }
        config.observe.procfs = ProcRoot::captured(tree);
    }
    if args.print_config {
        let _ = std::io::stdout().write_all(config.resolved().as_bytes());
        return Ok(Exit::Fine);
    }
    daemon::serve(config, args.scenario.as_deref())
}

fn settle(config: &mut Config, args: &Args) -> Result<(), ConfigError> {
    if let Some(path) = &args.config {
        config.read(path)?;
    }
    if let Some(listen) = &args.listen {
        config.flag("http.listen", "--listen", listen)?;
    }
    if let Some(folder) = &args.state_dir {
        config.flag("state.dir", "--state-dir", folder)?;
    }
    if args.insecure_listen {
        config.flag("http.insecure_listen", "--insecure-listen", "true")?;
    }
    Ok(())
}
