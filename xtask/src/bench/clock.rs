//! How long something took, on the wall and of the processors.

use std::{fs, process::Command, time::Instant};

use crate::Result;

/// Seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Took {
    pub(super) wall: f64,
    /// Of this process and of the children it waited for, in steps of 10 ms.
    pub(super) cpu: f64,
}

/// Does `work` and says what it took.
pub(super) fn clock<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Took)> {
    let (begun, before) = (Instant::now(), cpu("self"));
    let done = work()?;
    Ok((done, Took { wall: begun.elapsed().as_secs_f64(), cpu: cpu("self") - before }))
}

/// Seconds of the processors that a process has had so far, with those of its children that it
/// waited for.
pub(super) fn cpu(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(4);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Runs a command to its end; what it printed is shown only if it fails.
pub(super) fn ran(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed: {}: {}", output.status, said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The load of the last minute.
pub(super) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// How far apart the ends lie, of the median.
pub(super) fn spread(values: &[f64]) -> f64 {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    if values.is_empty() { 0.0 } else { (high - low) / median(values) }
}
