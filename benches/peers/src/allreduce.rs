//! The ring allreduce: between threads that share memory, and between processes over sockets.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use threadscape_workloads::Join;
use threadscape_workloads::allreduce::{Algorithm, Op, Participant, all_reduce};

use crate::{Asked, Case};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn open(name: &str, asked: &Asked) -> Box<dyn Case + Send> {
    match name {
        "shared" => Box::new(Shared {
            rows: (0..asked.size("ranks"))
                .map(|rank| vec![1.0 + rank as f32; asked.size("elements")])
                .collect(),
        }),
        "sockets" => Box::new(Sockets::open(asked)),
        _ => panic!("no case is named allreduce.{name}"),
    }
}

struct Shared {
    rows: Vec<Vec<f32>>,
}

impl Case for Shared {
    fn prepare(&mut self) {
        for (rank, row) in self.rows.iter_mut().enumerate() {
            row.fill(1.0 + rank as f32);
        }
    }

    fn run(&mut self, join: &dyn Join) {
        let mut rows: Vec<&mut [f32]> = self.rows.iter_mut().map(Vec::as_mut_slice).collect();
        all_reduce(join, &mut rows, Algorithm::Ring, Op::Sum).unwrap();
    }
}

/// One rank; rank 0 has started the others and tells them when to begin.
struct Sockets<S: threadscape_workloads::allreduce::Stream> {
    participant: Participant<S>,
    row: Vec<f32>,
    others: Vec<Child>,
    folder: Option<PathBuf>,
}

impl Sockets<std::os::unix::net::UnixStream> {
    fn open(asked: &Asked) -> Self {
        let (ranks, elements) = (asked.size("ranks"), asked.size("elements"));
        let rank: usize = asked.text_or("rank", "0").parse().unwrap();
        let mut folder = None;
        let place = match asked.text_or("folder", "") {
            "" => {
                let made = std::env::temp_dir().join(format!("ours-ranks-{}", std::process::id()));
                std::fs::create_dir(&made).unwrap();
                folder = Some(made.clone());
                made
            }
            given => PathBuf::from(given),
        };
        let others = if rank > 0 { 0..0 } else { 1..ranks };
        let others = others
            .map(|other| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["allreduce.sockets", "1"])
                    .arg(format!("ranks={ranks}"))
                    .arg(format!("elements={elements}"))
                    .arg(format!("rank={other}"))
                    .arg(format!("folder={}", place.display()))
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        Sockets {
            participant: Participant::over_unix(&place, ranks, rank, PATIENCE).unwrap(),
            row: vec![1.0 + rank as f32; elements],
            others,
            folder,
        }
    }
}

impl<S: threadscape_workloads::allreduce::Stream> Case for Sockets<S> {
    fn prepare(&mut self) {
        let rank = self.participant.rank();
        self.row.fill(1.0 + rank as f32);
    }

    fn run(&mut self, _: &dyn Join) {
        for other in &mut self.others {
            other.stdin.as_mut().unwrap().write_all(b"run\n").unwrap();
        }
        self.participant
            .all_reduce(&mut self.row, Algorithm::Ring, Op::Sum, PATIENCE)
            .unwrap();
    }
}

impl<S: threadscape_workloads::allreduce::Stream> Drop for Sockets<S> {
    fn drop(&mut self) {
        for mut other in self.others.drain(..) {
            drop(other.stdin.take());
            let _ = other.wait();
        }
        if let Some(folder) = self.folder.take() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
