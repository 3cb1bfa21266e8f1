//! Our side of the comparison, and the peers that are Rust.
//!
//! `ours CASE THREADS [name=value …]` makes its input, says `ready`, and then answers each line it is
//! given: `run` does the work once and prints how many nanoseconds it took, `save PATH` writes the
//! last result as little-endian f64, so that the driver can hold it against the peer's. Inputs that
//! both sides must share are files named in the parameters.

mod allreduce;
mod attention;
mod geometry;
mod limits;
mod lists;
mod medusa;
mod training;
mod upsampling;

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;

use threadscape_workloads::{Join, Sequential};

/// One piece of work, ready to be done again and again.
pub trait Case {
    /// Outside the clock, before each run: puts back what the last one changed.
    fn prepare(&mut self) {}

    fn run(&mut self, join: &dyn Join);

    /// What the last run gave, for the comparison of results. Empty: nothing to compare.
    fn result(&self) -> Vec<f64> {
        Vec::new()
    }
}

/// The parameters of a case.
pub struct Asked(HashMap<String, String>);

impl Asked {
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("the case needs {name}=…"))
    }

    pub fn text_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, String::as_str)
    }

    pub fn size(&self, name: &str) -> usize {
        self.text(name)
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a size"))
    }

    /// A file of little-endian values.
    pub fn values<T: FromBytes>(&self, name: &str) -> Vec<T> {
        let path = self.text(name);
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        bytes.chunks_exact(size_of::<T>()).map(T::from_bytes).collect()
    }
}

pub trait FromBytes {
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! from_bytes {
    ($($kind:ty),*) => {
        $(impl FromBytes for $kind {
            fn from_bytes(bytes: &[u8]) -> $kind {
                <$kind>::from_le_bytes(bytes.try_into().unwrap())
            }
        })*
    };
}

from_bytes!(u8, i32, i64, u32, f32, f64);

/// Rayon as the pool: both sides get the same threads, so only the algorithms differ.
struct OnRayon;

impl Join for OnRayon {
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        rayon::join(a, b);
    }

    fn width(&self) -> usize {
        rayon::current_num_threads()
    }
}

fn open(case: &str, asked: &Asked) -> Box<dyn Case + Send> {
    let (room, name) = case.split_once('.').unwrap_or((case, ""));
    match room {
        "limits" => limits::open(name, asked),
        "lists" => lists::open(name, asked),
        "attention" => attention::open(name, asked),
        "upsampling" => upsampling::open(name, asked),
        "geometry" => geometry::open(name, asked),
        "training" => training::open(name, asked),
        "medusa" => medusa::open(name, asked),
        "allreduce" => allreduce::open(name, asked),
        _ => panic!("no case is named {case}"),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [case, threads, parameters @ ..] = arguments.as_slice() else {
        eprintln!("usage: ours CASE THREADS [name=value …]");
        std::process::exit(2);
    };
    let threads: usize = threads.parse().expect("a number of threads");
    let asked = Asked(
        parameters
            .iter()
            .filter_map(|each| each.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    );
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let mut case = open(case, &asked);
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        match line.split_once(' ') {
            None if line == "run" => {
                case.prepare();
                let took = if threads == 1 {
                    let start = Instant::now();
                    black_box(&mut case).run(&Sequential);
                    start.elapsed()
                } else {
                    pool.install(|| {
                        let start = Instant::now();
                        black_box(&mut case).run(&OnRayon);
                        start.elapsed()
                    })
                };
                println!("{}", took.as_nanos());
            }
            Some(("save", path)) => {
                let bytes: Vec<u8> = case.result().into_iter().flat_map(f64::to_le_bytes).collect();
                std::fs::write(path, bytes).unwrap();
                println!("saved");
            }
            _ => panic!("not understood: {line}"),
        }
        std::io::stdout().flush().unwrap();
    }
}
