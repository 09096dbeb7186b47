//! Windows and the calendar (MET-5, R16): IANA zones, ISO weeks from Monday, days of 23 and 25 hours.
//!
//! Owns instants of local midnights. Refuses fixed offsets.
use jiff::{Timestamp, ToSpan as _, Zoned, civil::Date, tz::TimeZone};

const SECOND_US: i64 = 1_000_000;
/// Seconds of a day without a change of the clock.
const DAY_S: f64 = 86_400.0;
/// Longest window in days.
const WINDOW_DAYS_MAX: i64 = 3_660;

/// Size of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Local days.
    Day,
    /// ISO weeks.
    Week,
    /// Months.
    Month,
}

/// A half-open window with its zone.
#[derive(Clone, Debug)]
pub struct Window {
    /// First instant inside.
    pub from_us: i64,
    /// First instant after.
    pub to_us: i64,
    /// Zone of the calendar.
    pub zone: TimeZone,
    /// Name of the zone.
    pub zone_name: String,
}

/// One bucket, cut to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// First instant.
    pub start_us: i64,
    /// First instant after.
    pub end_us: i64,
    /// Whether the window cuts it.
    pub partial: bool,
}

/// Why a window is refused: the field and the rule it breaks.
pub type Fault = (&'static str, String);

impl Window {
    /// A window between two instants.
    pub fn between(from_us: i64, to_us: i64, zone_name: &str) -> Result<Window, Fault> {
        let zone = zone(zone_name)?;
        Window { from_us, to_us, zone, zone_name: zone_name.to_owned() }.checked(("to_time", "from_time"))
    }

    /// A window between two local dates.
    pub fn dates(from: &str, to: &str, zone_name: &str) -> Result<Window, Fault> {
        let zone = zone(zone_name)?;
        let parse = |text: &str, field| {
            text.parse::<Date>().map_err(|_| (field, "must be a date of the calendar, as 2026-03-02".to_owned()))
        };
        let (from, to) = (parse(from, "from_date")?, parse(to, "to_date")?);
        let (from_us, to_us) = (midnight(from, &zone), midnight(to, &zone));
        Window { from_us, to_us, zone, zone_name: zone_name.to_owned() }.checked(("to_date", "from_date"))
    }

    fn checked(self, (to, from): (&'static str, &'static str)) -> Result<Window, Fault> {
        if self.to_us <= self.from_us {
            return Err((to, format!("must be after {from}")));
        }
        if self.to_us - self.from_us > WINDOW_DAYS_MAX * 86_400 * SECOND_US {
            return Err((to, format!("must be at most {WINDOW_DAYS_MAX} days after {from}")));
        }
        Ok(self)
    }

    /// Whether an instant lies inside.
    pub fn contains(&self, at_us: i64) -> bool {
        self.from_us <= at_us && at_us < self.to_us
    }

    /// Length in days: calendar days between local midnights, else seconds ÷ 86,400.
    pub fn days(&self) -> f64 {
        let (from, to) = (self.local_date(self.from_us), self.local_date(self.to_us));
        if midnight(from, &self.zone) == self.from_us && midnight(to, &self.zone) == self.to_us {
            return f64::from(to.since(from).map_or(0, |span| span.get_days()));
        }
        (self.to_us - self.from_us) as f64 / SECOND_US as f64 / DAY_S
    }

    /// The local date of an instant.
    pub fn local_date(&self, at_us: i64) -> Date {
        zoned(at_us, &self.zone).date()
    }

    /// Buckets of the window in order.
    pub fn buckets(&self, unit: Unit) -> Vec<Bucket> {
        let mut all = Vec::new();
        let mut date = begin_of(self.local_date(self.from_us), unit);
        loop {
            let next = after(date, unit);
            let (start, end) = (midnight(date, &self.zone), midnight(next, &self.zone));
            if start >= self.to_us || next == date {
                return all;
            }
            if end > self.from_us {
                let (start_us, end_us) = (start.max(self.from_us), end.min(self.to_us));
                all.push(Bucket { start_us, end_us, partial: start_us != start || end_us != end });
            }
            date = next;
        }
    }

    /// Number of different local days among instants.
    pub fn local_days(&self, instants: impl Iterator<Item = i64>) -> usize {
        let mut days: Vec<Date> = instants.map(|at| self.local_date(at)).collect();
        days.sort_unstable();
        days.dedup();
        days.len()
    }
}

fn zone(name: &str) -> Result<TimeZone, Fault> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| ("time_zone", "must be an IANA time zone, as Europe/Berlin".to_owned()))
}

fn zoned(at_us: i64, zone: &TimeZone) -> Zoned {
    Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone())
}

/// First instant of a local day.
fn midnight(date: Date, zone: &TimeZone) -> i64 {
    let noon = date.at(12, 0, 0, 0).to_zoned(zone.clone());
    let start = noon.and_then(|noon| noon.start_of_day());
    start.map_or(i64::MAX, |start| start.timestamp().as_microsecond())
}

fn begin_of(date: Date, unit: Unit) -> Date {
    match unit {
        Unit::Day => date,
        Unit::Week => date.saturating_sub(i64::from(date.weekday().to_monday_zero_offset()).days()),
        Unit::Month => date.first_of_month(),
    }
}

fn after(date: Date, unit: Unit) -> Date {
    match unit {
        Unit::Day => date.saturating_add(1.day()),
        Unit::Week => date.saturating_add(7.days()),
        Unit::Month => date.saturating_add(1.month()),
    }
}

/// Median of numbers; `None` of none.
pub fn median(mut numbers: Vec<i64>) -> Option<f64> {
    numbers.sort_unstable();
    let middle = numbers.len() / 2;
    let high = *numbers.get(middle)?;
    if numbers.len() % 2 == 1 { Some(high as f64) } else { Some((numbers[middle - 1] + high) as f64 / 2.0) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_day_the_clock_changes_is_short_or_long() {
        let hours = |from, to, zone| {
            let window = Window::dates(from, to, zone).unwrap();
            let bucket = window.buckets(Unit::Day)[0];
            (window.days(), (bucket.end_us - bucket.start_us) / 3_600 / SECOND_US)
        };
        assert_eq!(hours("2026-03-29", "2026-03-30", "Europe/Berlin"), (1.0, 23));
        assert_eq!(hours("2026-10-25", "2026-10-26", "Europe/Berlin"), (1.0, 25));
        assert_eq!(hours("2026-03-08", "2026-03-09", "America/Los_Angeles"), (1.0, 23));
        // In Cairo and Asuncion midnight itself has been skipped: the day then begins at one o'clock.
        assert_eq!(hours("2024-04-26", "2024-04-27", "Africa/Cairo"), (1.0, 23));
    }

    #[test]
    fn buckets_cut_by_an_edge_are_partial() {
        let window = Window::dates("2026-03-04", "2026-03-17", "UTC").unwrap();
        let partial: Vec<bool> = window.buckets(Unit::Week).iter().map(|b| b.partial).collect();
        assert_eq!(partial, [true, false, true]);
        assert_eq!(window.buckets(Unit::Day).len(), 13);
        assert_eq!(window.buckets(Unit::Month).len(), 1);
    }

    #[test]
    fn windows_that_make_no_sense_are_refused() {
        assert_eq!(Window::between(5, 5, "UTC").unwrap_err().0, "to_time");
        assert_eq!(Window::dates("2016-01-01", "2026-12-01", "UTC").unwrap_err().0, "to_date");
        assert_eq!(Window::dates("2026-02-30", "2026-03-01", "UTC").unwrap_err().0, "from_date");
        assert_eq!(Window::between(1, 2, "Mars/Olympus").unwrap_err().0, "time_zone");
    }
}
