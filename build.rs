//! Finds the built dashboard and tells the compiler where it is.
//!
//! The binary embeds `dashboard/dist`. Building it needs Node.js and happens in `make dashboard`, not
//! here: a Rust build never reaches for the network or writes into the source tree. Where there is
//! no `dist`, a small page that says what to run is embedded instead, so that `cargo build`,
//! `cargo test` and `clippy` work on a machine without Node.js.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs};

const MISSING: &str = "dashboard/dist is missing, so the binary will show a page that says how to build it; \
                       run `make dashboard` (needs Node.js 20.19 or newer), then build again";

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let dashboard = root.join("dashboard");
    let built = dashboard.join("dist/index.html");

    for watched in ["dashboard/dist", "dashboard/src", "dashboard/index.html", "build.rs"] {
        println!("cargo:rerun-if-changed={watched}");
    }

    let embedded = if built.is_file() {
        if newest(&dashboard.join("src")) > modified(&built) {
            println!(
                "cargo:warning=dashboard/dist is older than dashboard/src; run `make dashboard`, then build again"
            );
        }
        dashboard.join("dist")
    } else {
        println!("cargo:warning={MISSING}");
        let stand_in = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("dashboard");
        fs::create_dir_all(&stand_in).expect("OUT_DIR can be written");
        fs::write(stand_in.join("index.html"), stand_in_page()).expect("OUT_DIR can be written");
        stand_in
    };
    println!("cargo:rustc-env=THREADSCAPE_DASHBOARD={}", embedded.display());
}

fn stand_in_page() -> String {
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>threadscape</title>\
     <h1>The dashboard is not built into this binary</h1>\
     <p>Run <code>make dashboard</code> (needs Node.js 20.19 or newer), then <code>cargo build</code> again. \
     The API under <code>/api/v1</code> works without it.</p></html>\n"
        .to_owned()
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path)
        .and_then(|meta| meta.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The latest change of any file below `folder`.
fn newest(folder: &Path) -> SystemTime {
    let Ok(entries) = fs::read_dir(folder) else {
        return SystemTime::UNIX_EPOCH;
    };
    entries
        .flatten()
        .map(|entry| {
            if entry.path().is_dir() {
                newest(&entry.path())
            } else {
                modified(&entry.path())
            }
        })
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
