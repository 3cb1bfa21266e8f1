//! Finished runs, kept in the state folder across restarts.
//!
//! A run is two files of `runs/`: `ID.json`, the report as it is handed out, and `ID.status.json`, the
//! few lines that the list of runs shows. Both are written to a temporary name, flushed and renamed,
//! the report first, and the folder is flushed after: a status file that exists has a whole report.
//! At the start only status files are read; one that cannot be understood is left where it is, and
//! said. The oldest runs go when there are more than [`MOST_RUNS`] or their reports pass [`MOST_BYTES`].
//! Without a state folder everything is kept in memory under the same bounds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::messages::WireRun;
use crate::model::{RunId, RunStatus};

pub const MOST_RUNS: usize = 200;
pub const MOST_BYTES: u64 = 256 << 20;
/// No status is nearly as long; a longer file is not ours.
const MOST_STATUS: u64 = 1 << 20;

const STATUS: &str = ".status.json";

struct Kept {
    status: RunStatus,
    report_bytes: u64,
    /// `None`: on disk.
    report: Option<Arc<str>>,
}

/// Runs that are over, by id, which sorts them by start.
pub struct Store {
    folder: Option<PathBuf>,
    runs: BTreeMap<Arc<str>, Kept>,
}

/// An id is a file's name, so nothing but these may be in it.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl Store {
    /// Reads what earlier daemons kept. Gives what is wrong with the folder's files, too.
    pub fn open(state: Option<&Path>) -> io::Result<(Store, Vec<String>)> {
        let mut problems = Vec::new();
        let mut store = Store {
            folder: state.map(|state| state.join("runs")),
            runs: BTreeMap::new(),
        };
        let Some(folder) = store.folder.clone() else {
            return Ok((store, problems));
        };
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(".tmp-") {
                // What a writer left that was ended in the middle.
                let _ = fs::remove_file(&path);
            } else if let Some(id) = name.strip_suffix(STATUS) {
                match read_status(&path, id) {
                    Ok(status) => {
                        let report_bytes = fs::metadata(folder.join(format!("{id}.json"))).map_or(0, |meta| meta.len());
                        store.runs.insert(
                            id.into(),
                            Kept {
                                status,
                                report_bytes,
                                report: None,
                            },
                        );
                    }
                    Err(problem) => problems.push(format!("{} is not read: {problem}", path.display())),
                }
            }
        }
        problems.truncate(8);
        Ok((store, problems))
    }

    /// Keeps a finished run. When the disk refuses, it is kept in memory and the problem comes back.
    pub fn keep(&mut self, status: RunStatus, report: Arc<str>) -> Option<String> {
        let id = status.id.0.clone();
        let written = match &self.folder {
            Some(folder) => write_run(folder, &status, &report),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let problem = match (&written, &self.folder) {
            (Err(error), Some(folder)) => Some(format!(
                "could not keep run {id} in {}: {error}; it is kept in memory until this daemon ends",
                folder.display()
            )),
            _ => None,
        };
        self.runs.insert(
            id,
            Kept {
                status,
                report_bytes: report.len() as u64,
                report: written.is_err().then_some(report),
            },
        );
        self.prune();
        problem
    }

    fn prune(&mut self) {
        let mut bytes: u64 = self.runs.values().map(|kept| kept.report_bytes).sum();
        while self.runs.len() > MOST_RUNS || (bytes > MOST_BYTES && self.runs.len() > 1) {
            let Some((id, kept)) = self.runs.pop_first() else {
                return;
            };
            bytes -= kept.report_bytes;
            if let Some(folder) = &self.folder {
                // The status first: without it the report is not looked at.
                let _ = fs::remove_file(folder.join(format!("{id}{STATUS}")));
                let _ = fs::remove_file(folder.join(format!("{id}.json")));
            }
        }
    }

    /// Newest first.
    pub fn list(&self) -> Vec<RunStatus> {
        self.runs.values().rev().map(|kept| kept.status.clone()).collect()
    }

    pub fn get(&self, id: &str) -> Option<RunStatus> {
        self.runs.get(id).map(|kept| kept.status.clone())
    }

    pub fn report(&self, id: &str) -> Option<io::Result<Arc<str>>> {
        let kept = self.runs.get(id)?;
        if let Some(report) = &kept.report {
            return Some(Ok(report.clone()));
        }
        let folder = self.folder.as_ref()?;
        Some(fs::read_to_string(folder.join(format!("{id}.json"))).map(Arc::from))
    }
}

fn read_status(path: &Path, id: &str) -> Result<RunStatus, String> {
    if !is_id(id) {
        return Err("its name is no run's id".into());
    }
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MOST_STATUS {
        return Err(format!("it is {length} bytes long, no status is"));
    }
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let run: WireRun = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if run.id != id {
        return Err(format!("it speaks of run {:?}", run.id));
    }
    run.into_status().ok_or_else(|| "a phase or time in it is none".into())
}

fn write_run(folder: &Path, status: &RunStatus, report: &str) -> io::Result<()> {
    let RunId(id) = &status.id;
    if !is_id(id) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a run's id"));
    }
    let status = serde_json::to_vec(&WireRun::from(status)).map_err(io::Error::other)?;
    write_whole(folder, &format!("{id}.json"), report.as_bytes())?;
    write_whole(folder, &format!("{id}{STATUS}"), &status)
}

/// The file has its old content or its new one, whatever happens in between.
pub fn write_whole(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    // Two writers of one name must not share the temporary file.
    let temporary = folder.join(format!(".tmp-{}-{name}", std::process::id()));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, folder.join(name))?;
        File::open(folder)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Nanos, RunPhase};
    use std::time::SystemTime;

    fn run(id: &str) -> RunStatus {
        RunStatus {
            id: RunId(id.into()),
            scenario: "quick".into(),
            phase: RunPhase::Finished,
            started_at: SystemTime::UNIX_EPOCH,
            ended_at: Some(SystemTime::UNIX_EPOCH),
            elapsed: Nanos(5),
            planned: None,
            seed: 1,
            rate_factor: 1.0,
            loads: Vec::new(),
            verdict: Some("pass".into()),
            messages: Vec::new(),
        }
    }

    #[test]
    fn a_run_is_read_back_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(Some(folder.path())).unwrap();
        assert_eq!(store.keep(run("a"), "{\"x\":1}".into()), None);
        assert_eq!(store.keep(run("b"), "{}".into()), None);
        let (again, problems) = Store::open(Some(folder.path())).unwrap();
        assert!(problems.is_empty());
        let ids: Vec<_> = again.list().iter().map(|run| run.id.0.to_string()).collect();
        assert_eq!(ids, ["b", "a"]);
        assert_eq!(&*again.report("a").unwrap().unwrap(), "{\"x\":1}");
    }

    #[test]
    fn a_corrupt_file_is_told_and_loses_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(Some(folder.path())).unwrap();
        store.keep(run("a"), "{}".into());
        let runs = folder.path().join("runs");
        fs::write(runs.join("b.status.json"), "{\"id\":\"b\"").unwrap();
        fs::write(runs.join("c.status.json"), [0xff; 10]).unwrap();
        fs::copy(runs.join("a.status.json"), runs.join("d.status.json")).unwrap();
        fs::write(runs.join(".tmp-1-e.json"), "half").unwrap();
        let (again, problems) = Store::open(Some(folder.path())).unwrap();
        assert_eq!(again.list().len(), 1);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(!runs.join(".tmp-1-e.json").exists());
        assert!(runs.join("b.status.json").exists());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(None).unwrap();
        for n in 0..MOST_RUNS + 3 {
            store.keep(run(&format!("r{n:04}")), "{}".into());
        }
        assert_eq!(store.list().len(), MOST_RUNS);
        assert!(store.get("r0002").is_none() && store.get("r0003").is_some());
        let _ = folder;
    }

    #[test]
    fn an_id_is_a_plain_file_name() {
        assert!(is_id("20261124T151812123Z-1a2b"));
        for bad in ["", "../x", "a/b", "a.b", "a b", &"x".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_disk_that_refuses_keeps_the_run_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(Some(folder.path())).unwrap();
        fs::remove_dir_all(folder.path().join("runs")).unwrap();
        fs::write(folder.path().join("runs"), "a file in the way").unwrap();
        assert!(store.keep(run("a"), "{}".into()).unwrap().contains("kept in memory"));
        assert_eq!(&*store.report("a").unwrap().unwrap(), "{}");
    }
}
