//! Values with a unit, as a scenario file writes them: `"250ms"`, `"64MiB"`, `"200/s"`, `"1%"`.
//!
//! A number without its unit is refused, and the message shows the number with one. Everything is
//! pure; the place in the file is known to the caller (`page.rs`).

use std::time::Duration;

use crate::model::Nanos;

/// No time in a scenario is longer: a year and a day.
const LONGEST: f64 = 366.0 * 86_400.0;

const TIMES: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("min", 60.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Splits `12.5ms` after the number; both parts trimmed.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let number: f64 = text[..end].replace('_', "").parse().ok()?;
    number.is_finite().then_some((number, text[end..].trim()))
}

fn seconds_of(unit: &str) -> Option<f64> {
    TIMES
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, seconds)| *seconds)
}

/// `"5s"`, `"1.5ms"`, `"1h 30min"`.
pub fn time(text: &str) -> Result<Nanos, String> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err("an empty text is not a time; write one like \"5s\"".into());
    }
    while !rest.is_empty() {
        let Some((number, tail)) = split(rest) else {
            return Err(format!("\"{text}\" is not a time; write one like \"5s\" or \"250ms\""));
        };
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c.is_whitespace())
            .unwrap_or(tail.len());
        let unit = &tail[..end];
        if unit.is_empty() {
            return Err(format!("\"{text}\" has no unit; write \"{number}s\" or \"{number}ms\""));
        }
        let Some(scale) = seconds_of(unit) else {
            return Err(format!(
                "\"{unit}\" is not a unit of time; the units are ns, us, ms, s, min, h and d"
            ));
        };
        seconds += number * scale;
        rest = tail[end..].trim_start();
    }
    if seconds > LONGEST {
        return Err(format!("\"{text}\" is longer than a year"));
    }
    Ok(Nanos((seconds * 1e9).round() as u64))
}

/// `"64MiB"`, `"1GB"`.
pub fn size(text: &str) -> Result<u64, String> {
    let Some((number, unit)) = split(text) else {
        return Err(format!("\"{text}\" is not a size; write one like \"64MiB\""));
    };
    if unit.is_empty() {
        return Err(format!(
            "\"{text}\" has no unit; write \"{number}MiB\" or \"{number}KiB\""
        ));
    }
    let Some((_, scale)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(format!(
            "\"{unit}\" is not a unit of size; the units are B, KiB, MiB, GiB, KB, MB and GB"
        ));
    };
    let bytes = number * *scale as f64;
    if bytes > (1u64 << 50) as f64 {
        return Err(format!("\"{text}\" is larger than a pebibyte"));
    }
    Ok(bytes as u64)
}

/// `"200/s"`, `"90/min"`, `"10/h"`: events a second.
pub fn rate(text: &str) -> Result<f64, String> {
    let Some((number, unit)) = split(text) else {
        return Err(format!("\"{text}\" is not a rate; write one like \"200/s\""));
    };
    if unit.is_empty() {
        return Err(format!("\"{text}\" has no unit; write \"{number}/s\""));
    }
    match unit.strip_prefix('/').map(str::trim).and_then(seconds_of) {
        Some(seconds) if seconds >= 1.0 => Ok(number / seconds),
        _ => Err(format!(
            "\"{unit}\" is not a unit of rate; the units are /s, /min, /h and /d"
        )),
    }
}

/// `"5%"`: a share of one.
pub fn share(text: &str) -> Result<f64, String> {
    let Some((number, unit)) = split(text) else {
        return Err(format!("\"{text}\" is not a share; write one like \"5%\""));
    };
    if unit != "%" {
        return Err(format!("\"{text}\" is not a share; write \"{number}%\""));
    }
    if number > 100.0 {
        return Err(format!("\"{text}\" is more than all; a share is at most \"100%\""));
    }
    Ok(number / 100.0)
}

/// A time as a person reads it: three figures and the unit that fits.
pub fn show_time(time: Nanos) -> String {
    let nanos = time.0 as f64;
    let (value, unit) = match time.0 {
        0 => return "0".into(),
        1..1_000 => return format!("{}ns", time.0),
        1_000..1_000_000 => (nanos / 1e3, "us"),
        1_000_000..1_000_000_000 => (nanos / 1e6, "ms"),
        _ if nanos < 120e9 => (nanos / 1e9, "s"),
        _ => {
            return humantime::format_duration(Duration::from_secs(time.0 / 1_000_000_000)).to_string();
        }
    };
    let digits = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    let mut shown = format!("{value:.digits$}");
    if shown.contains('.') {
        shown = shown.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    format!("{shown}{unit}")
}

/// A size as a person reads it.
pub fn show_size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_its_unit() {
        assert_eq!(time("5s"), Ok(Nanos(5_000_000_000)));
        assert_eq!(time("1.5ms"), Ok(Nanos(1_500_000)));
        assert_eq!(time("1h 30min"), Ok(Nanos(5_400_000_000_000)));
        assert_eq!(time("1h30m"), Ok(Nanos(5_400_000_000_000)));
        assert_eq!(time("0s"), Ok(Nanos(0)));
        for (bad, part) in [
            ("5", "has no unit"),
            ("5 parsecs", "not a unit of time"),
            ("", "empty"),
            ("-5s", "not a time"),
            ("s", "not a time"),
            ("1e400s", "not a unit"),
            ("9999d", "longer than a year"),
        ] {
            let message = time(bad).unwrap_err();
            assert!(message.contains(part), "{bad:?}: {message}");
        }
    }

    #[test]
    fn sizes_rates_and_shares_need_theirs() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1.5 KiB"), Ok(1536));
        assert!(size("64").unwrap_err().contains("64MiB"));
        assert!(size("64mb").unwrap_err().contains("not a unit of size"));
        assert_eq!(rate("200/s"), Ok(200.0));
        assert_eq!(rate("90/min"), Ok(1.5));
        assert!(rate("200").unwrap_err().contains("\"200/s\""));
        assert!(rate("200/ms").is_err());
        assert_eq!(share("5%"), Ok(0.05));
        assert!(share("0.05").unwrap_err().contains("\"0.05%\""));
        assert!(share("101%").is_err());
    }

    #[test]
    fn times_are_shown_with_the_unit_that_fits() {
        assert_eq!(show_time(Nanos(950)), "950ns");
        assert_eq!(show_time(Nanos(1_250)), "1.25us");
        assert_eq!(show_time(Nanos(12_300_000)), "12.3ms");
        assert_eq!(show_time(Nanos(10_000_000_000)), "10s");
        assert_eq!(show_time(Nanos(3_600_000_000_000)), "1h");
    }
}
