//! What is written down: spans of time, processor time and memory of a process, tables.
//!
//! Owns the words of the tables. Refuses averages where a few slow ones would hide.

use std::time::Duration;

use anyhow::{Context as _, Result};
use slipway_tests::platform::Platform;

/// Durations of one step.
#[derive(Clone, Debug, Default)]
pub struct Spans(Vec<Duration>);

impl Spans {
    /// Adds one.
    pub fn push(&mut self, span: Duration) {
        self.0.push(span);
        self.0.sort();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The span that this share of them does not exceed.
    pub fn at(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).map_or(f64::NAN, Duration::as_secs_f64)
    }

    /// Columns of a table: median, p95, longest; in seconds.
    pub fn columns(&self) -> [String; 3] {
        [0.5, 0.95, 1.0].map(|share| format!("{:.2}", self.at(share)))
    }
}

/// Processor time of the platform, of the programs that it ran too, in seconds.
pub fn cpu_seconds(platform: &Platform) -> Result<f64> {
    let stat = read(platform, "stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime, stime, and the same of children that ended; USER_HZ is 100 on every Linux that Rust supports.
    let ticks: Option<f64> = fields.get(11..15).map(|four| four.iter().filter_map(|t| t.parse::<f64>().ok()).sum());
    Ok(ticks.context("no processor time is told")? / 100.0)
}

/// Resident memory of the platform's process now, and the most it had, in MiB.
pub fn memory_mib(platform: &Platform) -> Result<(f64, f64)> {
    let status = read(platform, "status")?;
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|word| word.parse::<f64>().ok());
        number.map(|kib| kib / 1024.0).with_context(|| format!("no {name} is told"))
    };
    Ok((of("VmRSS:")?, of("VmHWM:")?))
}

fn read(platform: &Platform, name: &str) -> Result<String> {
    let pid = platform.pid().context("the platform is down")?;
    Ok(std::fs::read_to_string(format!("/proc/{pid}/{name}"))?)
}

/// Prints a table of rows by columns.
pub fn table(head: &[String], rows: &[Vec<String>]) {
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
    println!();
}
