//! Deadlines on the wire: reading `grpc-timeout` strictly and passing on what is left (REL-13, REL-18, REL-19).
//!
//! Owns the grammar and the arithmetic. Refuses a value it cannot read rather than running without a limit.
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::{
    authz,
    error::{DEADLINE_EXCEEDED, Error, MALFORMED_CALL, Result},
};

/// Header that carries the time a call may take.
pub const BUDGET_HEADER: &str = "grpc-timeout";

/// When the call must end: the caller's time, at most the cap, else the default.
pub fn of(headers: &HeaderMap, class: authz::Deadline, now: Instant) -> Result<Instant> {
    let time = match asked(headers)? {
        None => class.default,
        Some(Duration::ZERO) => return Err(expired()),
        Some(asked) => asked.min(class.cap),
    };
    Ok(now + time)
}

/// The error of a call whose time is over.
pub(super) fn expired() -> Error {
    Error::new(&DEADLINE_EXCEEDED, "the time of the call ran out")
}

fn asked(headers: &HeaderMap) -> Result<Option<Duration>> {
    let mut values = headers.get_all(BUDGET_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (parse(value.as_bytes()), values.next()) {
        (Some(time), None) => Ok(Some(time)),
        _ => {
            Err(Error::new(&MALFORMED_CALL, "grpc-timeout must be given once, as 1 to 8 digits and one of H M S m u n"))
        }
    }
}

fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = digits.iter().fold(0_u64, |n, digit| n * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// What may be given to the next hop of `remaining`: less by max(5 ms, 2 %), at most 50 ms, in whole ms; `None` below 1 ms (REL-19).
pub fn budget(remaining: Duration) -> Option<Duration> {
    let reserve = (remaining / 50).clamp(Duration::from_millis(5), Duration::from_millis(50));
    let left_ms = u64::try_from(remaining.saturating_sub(reserve).as_millis()).unwrap_or(u64::MAX);
    (left_ms >= 1).then(|| Duration::from_millis(left_ms))
}

/// The header value for a time, rounded down to what the grammar can say.
pub(super) fn header(time: Duration) -> HeaderValue {
    let ms = time.as_millis();
    let text = if ms <= 99_999_999 { format!("{ms}m") } else { format!("{}S", time.as_secs().min(99_999_999)) };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("1m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: authz::Deadline = authz::Deadline { default: Duration::from_secs(10), cap: Duration::from_secs(60) };

    fn at(values: &[&str]) -> Result<Duration> {
        let now = Instant::now();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(BUDGET_HEADER, value.parse().expect("ascii"));
        }
        of(&headers, READ, now).map(|at| at - now)
    }

    #[test]
    fn the_grammar_is_strict() {
        for (value, want_us) in [
            ("1S", 1_000_000),
            ("250m", 250_000),
            ("99999999u", 60_000_000),
            ("1H", 60_000_000),
            ("2M", 60_000_000),
            ("5000n", 5),
        ] {
            assert_eq!(at(&[value]).expect(value), Duration::from_micros(want_us), "{value}");
        }
        assert_eq!(at(&[]).expect("default"), READ.default);
        for value in ["", "S", "10", "123456789m", "-1S", "+1S", "1.5S", " 1S", "1S ", "1s", "1x", "0x1S", "1SS"] {
            assert!(at(&[value]).expect_err(value).is(&MALFORMED_CALL), "{value}");
        }
        assert!(at(&["1S", "1S"]).expect_err("twice").is(&MALFORMED_CALL));
        for value in ["0S", "00000000n", "0H"] {
            assert!(at(&[value]).expect_err(value).is(&DEADLINE_EXCEEDED), "{value}");
        }
    }

    #[test]
    fn worked_example_of_rel_19() {
        for (left_ms, next_ms) in [(296, 290), (280, 274), (270, 264), (10_000, 9_950), (1_000, 980)] {
            assert_eq!(budget(Duration::from_millis(left_ms)), Some(Duration::from_millis(next_ms)), "{left_ms}");
        }
        assert_eq!(budget(Duration::from_micros(5_999)), None);
        assert_eq!(budget(Duration::ZERO), None);
        assert_eq!(header(Duration::from_millis(290)), "290m");
        assert_eq!(header(Duration::from_secs(1_000_000)), "1000000S");
    }
}
