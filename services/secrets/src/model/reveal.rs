//! When a value may be shown to a person (SEC-63, SAFE-39).
//!
//! Owns the hourly limit and what break-glass needs. Refuses programs: they get values by bindings.
use slipway_kit::{
    caller::{Caller, CallerKind},
    error::{Error, PERMISSION_DENIED, RATE_LIMITED, Result, Violations},
};

/// Reveals a person has in an hour.
pub const PER_HOUR: i64 = 10;
/// The window, µs.
pub const WINDOW_US: i64 = 3_600_000_000;
/// Shortest reason, in characters without blanks around it.
const REASON_CHARS_MIN: usize = 10;

/// Whether the caller is a person, with a session or a token of their own.
pub fn is_person(caller: &Caller) -> bool {
    matches!(caller.kind, CallerKind::User | CallerKind::Token) && caller.principal.starts_with("user:")
}

/// PERMISSION_DENIED unless a person asks.
pub fn check_person(caller: &Caller) -> Result<()> {
    if is_person(caller) {
        return Ok(());
    }
    Err(Error::new(&PERMISSION_DENIED, "permission denied, or there is no such resource"))
}

/// The reason, and under break-glass the ticket, must say something.
pub fn check_words(reason: &str, ticket: &str, break_glass: bool) -> Result<()> {
    let mut violations = Violations::new();
    let says = reason.trim().chars().count() >= REASON_CHARS_MIN;
    violations.check(says, "reason", format!("must have at least {REASON_CHARS_MIN} characters"));
    violations.check(!break_glass || !ticket.trim().is_empty(), "ticket", "is required for break-glass");
    violations.finish()
}

/// Reveals left after this one; `earlier_us` are the instants of those in the window, oldest first.
pub fn remaining(earlier_us: &[i64], now_us: i64) -> Result<i32> {
    let used = i64::try_from(earlier_us.len()).unwrap_or(i64::MAX);
    if used < PER_HOUR {
        return Ok(i32::try_from(PER_HOUR - used - 1).unwrap_or(0));
    }
    let wait_us = earlier_us.first().map_or(WINDOW_US, |first| first + WINDOW_US - now_us).max(0);
    Err(Error::new(&RATE_LIMITED, format!("{PER_HOUR} reveals in an hour are used up"))
        .quota("secrets.reveal", format!("{PER_HOUR} per hour and person"))
        .retry_after_ms(u64::try_from(wait_us / 1000 + 1).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_in_an_hour() {
        assert_eq!(remaining(&[], 0).unwrap(), 9);
        assert_eq!(remaining(&[1; 9], 2).unwrap(), 0);
        assert!(remaining(&[1; 10], 2).unwrap_err().is(&RATE_LIMITED));
    }

    #[test]
    fn words_are_needed() {
        assert!(check_words("looking into incident 7", "", false).is_ok());
        assert_eq!(check_words("          x         ", " ", true).unwrap_err().violations().len(), 2);
    }
}
