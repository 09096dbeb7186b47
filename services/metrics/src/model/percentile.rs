//! Percentiles of whole seconds (MET-4, MET-31). Refuses empty samples by answering nothing.

/// Summary of a sample in seconds; percentiles by linear interpolation (Hyndman–Fan type 7), rounded half-even.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Size of the sample.
    pub n: usize,
    /// Arithmetic mean, seconds.
    pub mean: f64,
    /// Median, seconds.
    pub p50: i64,
    /// 75th percentile, seconds.
    pub p75: i64,
    /// 90th percentile, seconds.
    pub p90: i64,
    /// 95th percentile, seconds.
    pub p95: i64,
}

/// Summarises a sample; `None` if it is empty.
pub fn summary(mut sample: Vec<i64>) -> Option<Summary> {
    if sample.is_empty() {
        return None;
    }
    sample.sort_unstable();
    let sum: i128 = sample.iter().map(|v| i128::from(*v)).sum();
    let at = |percent| percentile(&sample, percent);
    Some(Summary {
        n: sample.len(),
        mean: sum as f64 / sample.len() as f64,
        p50: at(50),
        p75: at(75),
        p90: at(90),
        p95: at(95),
    })
}

/// Type 7 in integers: position = (n − 1) · percent ÷ 100. `sorted` is not empty.
fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let position = (sorted.len() - 1) * percent;
    let (index, rest) = (position / 100, (position % 100) as i128);
    let low = i128::from(sorted[index]);
    let high = i128::from(sorted[(index + 1).min(sorted.len() - 1)]);
    let hundredths = low * 100 + (high - low) * rest;
    let (whole, part) = (hundredths.div_euclid(100), hundredths.rem_euclid(100));
    let up = part > 50 || (part == 50 && whole % 2 != 0);
    (whole + i128::from(up)) as i64
}
