//! The wiring: builds, joins and stops the rooms; the only file that sees them all.
//!
//! | step | why in this order |
//! |---|---|
//! | ledger | before any other thread, so that all of ours have a slot |
//! | state folder, its lock, the token | a second daemon must stop before it starts anything |
//! | the door is bound | a port that is taken must be told before the workbench exists |
//! | history, workbench, sampler, live events | each is handed the ends of the ones before it |
//! | link printed, scenario started, requests answered | |
//! | on a signal: door closed, run drained (10 s), workbench gone, sampler joined | nothing acknowledged is lost |

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Exit, Failure, check};
use crate::config::Config;
use crate::scenario::{Remote, Runs as _, StartRun};
use crate::workbench::{self, Bench};
use crate::{history, http, ledger, observe, scenario};

/// Our own threads: sampler, runtime, link, and those that answer blocking requests.
const LEDGER_SLOTS: usize = 256;
/// How long a run may take to finish what is under way when we are told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs the daemon until SIGINT or SIGTERM.
pub fn serve(config: Config, scenario: Option<&Path>) -> Result<Exit, Failure> {
    let scenario = scenario.map(read_scenario).transpose()?;
    if let Err(error) = ledger::install(LEDGER_SLOTS) {
        tracing::warn!(%error, "no ledger of our own: heap and tasks of the daemon's threads will be unknown");
    }
    let state = StateFolder::hold(&config.state_dir)?;
    let token = http::Token::load_or_make(&state.path).map_err(Failure::usage)?;
    let listener = http::bind(&config.http).map_err(Failure::usage)?;

    // Before anything that must be ended in order: from here on a signal is a request to stop.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("ts-http")
        .max_blocking_threads(16)
        .build()
        .map_err(|error| Failure::other(format!("could not start the HTTP runtime: {error}")))?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen().map_err(|error| Failure::other(format!("could not listen for signals: {error}")))?
    };

    let live = http::Live::new();
    let (writer, reader) = history::new(config.history);
    let bench = Arc::new(
        Bench::new(workbench::Settings::new(&config.scenarios, Some(&state.path)), {
            let live = live.clone();
            move |change| match change {
                workbench::Change::Run(run) => live.run(&run),
                workbench::Change::Pools(pools, pid) => live.pools(&pools, pid),
            }
        })
        .map_err(Failure::other)?,
    );
    let (sampler, inspector) = observe::start(
        config.observe,
        {
            let bench = bench.clone();
            move || bench.workbench_pid()
        },
        {
            let live = live.clone();
            move |delivery| match delivery {
                observe::Delivery::Snapshot(snapshot) => {
                    writer.push(&snapshot);
                    live.snapshot(&snapshot);
                }
                observe::Delivery::Gone(process) => {
                    writer.ended(process);
                    live.gone(process);
                }
                observe::Delivery::Finding(change) => live.finding(&change.finding, change.state),
            }
        },
    )
    .map_err(|error| Failure::other(format!("could not start the sampler: {error}")))?;

    println!("open {}", listener.link(&token));
    if let Some(text) = scenario {
        bench
            .start(StartRun::Inline(text), None)
            .map_err(|error| Failure::usage(format!("--scenario: {error}")))?;
    }

    let handles = http::Handles {
        inspector,
        runs: Remote(bench.clone()),
        history: reader,
    };
    let served = runtime.block_on(http::serve(listener, handles, live, token, async move {
        signals.first().await;
    }));
    // Handlers that still wait for an answer end by their own time-outs.
    runtime.shutdown_timeout(Duration::from_secs(1));
    bench.shutdown(DRAIN);
    sampler.stop();
    served
        .map(|()| Exit::Fine)
        .map_err(|error| Failure::other(format!("the HTTP side ended early: {error}")))
}

/// Its text, checked here so that a wrong file is told with its lines before anything has started.
fn read_scenario(path: &Path) -> Result<String, Failure> {
    let text = workbench::read_scenario(path).map_err(|error| Failure::usage(format!("--scenario: {error}")))?;
    match scenario::Plan::parse(&text) {
        Ok(_) => Ok(text),
        Err(problems) => Err(Failure::usage(check::tell(path, &text, &problems))),
    }
}

/// The two requests to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The folder where token, lock and finished runs live, held by one daemon at a time.
struct StateFolder {
    path: PathBuf,
    /// Locked as long as it is open: the kernel lets go of it however we end.
    _lock: File,
}

impl StateFolder {
    fn hold(path: &Path) -> Result<StateFolder, Failure> {
        let refused = |what: &str, error: io::Error| {
            let message = format!(
                "{what} {}: {error}; choose another folder with --state-dir",
                path.display()
            );
            match error.kind() {
                io::ErrorKind::PermissionDenied => Failure::not_allowed(message),
                _ => Failure::usage(message),
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| refused("could not make the state folder", error))?;
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|error| refused("could not open the lock of the state folder", error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            return Err(Failure::usage(format!(
                "the state folder {} is in use by another threadscape (pid {}); stop that one, or choose another folder with --state-dir",
                path.display(),
                if holder.trim().is_empty() {
                    "unknown"
                } else {
                    holder.trim()
                },
            )));
        }
        let noted = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
        noted.map_err(|error| refused("could not write the lock of the state folder", error))?;
        Ok(StateFolder {
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        let first = StateFolder::hold(&path).unwrap();
        let refused = StateFolder::hold(&path).err().unwrap();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(
            refused.message.contains(&std::process::id().to_string()),
            "{}",
            refused.message
        );
        drop(first);
        StateFolder::hold(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let refused = StateFolder::hold(&path).err().unwrap();
        assert!(refused.message.contains("--state-dir"), "{}", refused.message);
    }
}
