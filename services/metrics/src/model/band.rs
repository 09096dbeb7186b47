//! Bands of the published benchmarks (MET-44, MET-45): editions are data, read once. Refuses an overall label.
use std::sync::LazyLock;

use serde::Deserialize;

/// Edition taken when none is asked for.
pub const DEFAULT: &str = "2023";

static EDITIONS: LazyLock<Vec<Edition>> = LazyLock::new(|| {
    let files = [
        include_str!("../../data/2021.json"),
        include_str!("../../data/2023.json"),
        include_str!("../../data/2024.json"),
        include_str!("../../data/2025.json"),
    ];
    files.iter().map(|text| serde_json::from_str(text).expect("the editions are checked by a test")).collect()
});

const LEVELS: [&str; 4] = ["elite", "high", "medium", "low"];

/// One edition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    /// Its name.
    pub edition: String,
    /// Bands of the deployment frequency.
    pub frequency: Bands,
    /// Bands of the median lead time.
    pub lead_time: Bands,
    /// Bands of the change fail rate.
    pub change_fail_rate: Bands,
    /// Bands of the median recovery time.
    pub recovery: Bands,
}

/// Bands of one measure, best first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    /// Whether they are monotone and have level names.
    levels: bool,
    bands: Vec<Rule>,
    /// Values of clusters that make no bands.
    #[serde(default)]
    clusters: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    title: String,
    below_seconds: Option<i64>,
    up_to: Option<f64>,
    days_per_week: Option<f64>,
    every_days: Option<f64>,
}

/// A band found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// Position from 1; 0 if the edition has no bands for the measure.
    pub position: usize,
    /// The band in words.
    pub title: String,
    /// Level name, if the edition has them.
    pub level: Option<&'static str>,
    /// All bands in words.
    pub all: Vec<String>,
}

/// An edition by name.
pub fn edition(name: &str) -> Option<&'static Edition> {
    EDITIONS.iter().find(|e| e.edition == name)
}

/// Names of all editions.
pub fn names() -> Vec<&'static str> {
    EDITIONS.iter().map(|e| e.edition.as_str()).collect()
}

impl Bands {
    /// Band of a duration; edges are strict.
    pub fn of_seconds(&self, seconds: i64) -> Option<Band> {
        self.first(|rule| rule.below_seconds.is_none_or(|edge| seconds < edge))
    }

    /// Band of a ratio; edges are inclusive.
    pub fn of_ratio(&self, ratio: f64) -> Option<Band> {
        self.first(|rule| rule.up_to.is_none_or(|edge| ratio <= edge))
    }

    /// Band of a frequency; `None` if the window is too short to decide it.
    pub fn of_frequency(&self, successes: usize, days: f64, days_per_week: Option<f64>) -> Option<Band> {
        for (at, rule) in self.bands.iter().enumerate() {
            if let Some(edge) = rule.days_per_week {
                if days_per_week? >= edge {
                    return Some(self.band(at));
                }
            } else if let Some(period) = rule.every_days {
                if days < period {
                    return None;
                }
                if successes as f64 * period / days >= 1.0 {
                    return Some(self.band(at));
                }
            } else {
                return Some(self.band(at));
            }
        }
        self.nothing()
    }

    fn first(&self, holds: impl Fn(&Rule) -> bool) -> Option<Band> {
        self.bands.iter().position(holds).map(|at| self.band(at)).or_else(|| self.nothing())
    }

    fn band(&self, at: usize) -> Band {
        Band {
            position: at + 1,
            title: self.bands[at].title.clone(),
            level: if self.levels { LEVELS.get(at).copied() } else { None },
            all: self.bands.iter().map(|r| r.title.clone()).collect(),
        }
    }

    /// What is answered where an edition publishes cluster values instead of bands.
    fn nothing(&self) -> Option<Band> {
        (!self.clusters.is_empty()).then(|| Band {
            position: 0,
            title: String::new(),
            level: None,
            all: self.clusters.clone(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn time_edges_are_strict_and_ratio_edges_inclusive() {
        let e = edition("2023").unwrap();
        assert_eq!(e.lead_time.of_seconds(86_400).unwrap().position, 2);
        assert_eq!(e.lead_time.of_seconds(86_399).unwrap().level, Some("elite"));
        assert_eq!(e.change_fail_rate.of_ratio(0.05).unwrap().position, 1);
        assert_eq!(e.change_fail_rate.of_ratio(0.25).unwrap().level, Some("low"));
        assert_eq!(e.recovery.of_seconds(604_800).unwrap().position, 4);
    }

    #[test]
    fn a_short_window_decides_only_what_it_can() {
        let e = edition("2023").unwrap();
        assert_eq!(e.frequency.of_frequency(8, 28.0, Some(1.5)).unwrap().title, "at least once a week");
        assert_eq!(e.frequency.of_frequency(3, 3.0, None), None);
        assert_eq!(e.frequency.of_frequency(1, 28.0, Some(0.0)), None);
        assert_eq!(e.frequency.of_frequency(1, 60.0, Some(0.0)).unwrap().position, 4);
        assert_eq!(e.frequency.of_frequency(2, 60.0, Some(0.0)).unwrap().position, 3);
    }

    #[test]
    fn editions_without_monotone_bands_have_no_levels() {
        for name in names() {
            let e = edition(name).unwrap();
            let levels = e.recovery.of_seconds(1).unwrap().level.is_some();
            assert_eq!(levels, name != "2025", "{name}");
        }
        assert_eq!(edition("2024").unwrap().change_fail_rate.of_ratio(0.1).unwrap().position, 0);
        assert_eq!(edition("2025").unwrap().change_fail_rate.of_ratio(0.1), None);
        assert_eq!(edition("2024").unwrap().lead_time.of_seconds(0).unwrap().level, Some("elite"));
    }
}
