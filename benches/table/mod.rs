//! One line of the table that `make bench` prints: the same columns in every bench.
//!
//! A line says what was measured and, where there is one, what it is held against: a limit that we
//! promise, or a peer in the same run. `ok` or `MISSED` is for the reader; no bench fails by it, since
//! machines differ and a shared one is noisy.

use std::time::Duration;

/// `met`: whether the limit was kept or the peer was beaten; `None` where there is nothing to hold against.
pub fn row(area: &str, what: &str, measured: &str, against: &str, met: Option<bool>) {
    let verdict = match met {
        Some(true) => "ok",
        Some(false) => "MISSED",
        None => "",
    };
    let line = format!("{area:<10} {what:<70} {measured:>12}  {against:<36} {verdict}");
    println!("{}", line.trim_end());
}

#[allow(dead_code)]
pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
