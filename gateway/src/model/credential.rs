//! Which credential a call carries, told by its form before anything is verified (SAFE-6), and which inbound metadata is dropped
//! so that no caller can speak as the gateway (SAFE-25).
//!
//! Refuses a call with two credentials; never looks inside a signed token.

use super::token::PREFIX;

/// Largest signed token, in bytes (SAFE-8).
pub const MAX_SIGNED_BYTES: usize = 16 * 1024;

/// A credential by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// No credential at all.
    None,
    /// Looks like a platform token.
    Platform(&'a str),
    /// Looks like a signed token of three parts.
    Signed(&'a str),
}

/// Why the `authorization` metadata holds no usable credential. Goes to audit and metrics, never to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// More than one value.
    Several,
    /// Not the scheme `Bearer`.
    Scheme,
    /// None of the known forms.
    Form,
}

/// Reads every value of `authorization` the call carried.
///
/// # Errors
/// [`Unreadable`] unless there is none, or exactly one of a known form.
pub fn read<'a>(values: &[&'a [u8]]) -> Result<Credential<'a>, Unreadable> {
    let value = match values {
        [] => return Ok(Credential::None),
        [one] => std::str::from_utf8(one).map_err(|_| Unreadable::Form)?,
        _ => return Err(Unreadable::Several),
    };
    let (scheme, text) = value.split_once(' ').ok_or(Unreadable::Scheme)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Unreadable::Scheme);
    }
    if text.starts_with(PREFIX) {
        return Ok(Credential::Platform(text));
    }
    let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    if text.len() <= MAX_SIGNED_BYTES && text.bytes().all(base64url) && text.bytes().filter(|b| *b == b'.').count() == 2
    {
        return Ok(Credential::Signed(text));
    }
    Err(Unreadable::Form)
}

/// Whether inbound metadata of this (lower-case) name is dropped at the edge, its `-bin` twin included.
#[must_use]
pub fn is_stripped(name: &str) -> bool {
    let name = name.strip_suffix("-bin").unwrap_or(name);
    name.starts_with("slipway-")
        || name.starts_with("x-slipway-")
        || name.starts_with("x-forwarded-")
        || matches!(name, "forwarded" | "x-real-ip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credential_of_a_known_form_is_read() {
        assert_eq!(read(&[]), Ok(Credential::None));
        assert_eq!(read(&[b"Bearer slw_abc"]), Ok(Credential::Platform("slw_abc")));
        assert_eq!(read(&[b"bearer a.b.c"]), Ok(Credential::Signed("a.b.c")));
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("Bearer {}.b.c", "a".repeat(MAX_SIGNED_BYTES));
        let forms: [&[u8]; 8] = [
            b"Bearer a.b",
            b"Bearer a.b.c.d.e",
            b"Bearer  a.b.c",
            b"Bearer a.b.c ",
            b"Bearer ",
            b"Bearer a.b.c=",
            b"Bearer \xff",
            long.as_bytes(),
        ];
        for value in forms {
            assert_eq!(read(&[value]), Err(Unreadable::Form), "{value:?}");
        }
        for value in [&b""[..], b"a.b.c", b"Basic a.b.c", b"slw_abc"] {
            assert_eq!(read(&[value]), Err(Unreadable::Scheme), "{value:?}");
        }
        assert_eq!(read(&[b"Bearer a.b.c", b"Bearer a.b.c"]), Err(Unreadable::Several));
    }

    #[test]
    fn spoofable_metadata_is_dropped_and_the_rest_kept() {
        for name in [
            "slipway-assertion",
            "slipway-assertion-bin",
            "x-slipway-user",
            "x-slipway-user-bin",
            "forwarded",
            "forwarded-bin",
            "x-forwarded-for",
            "x-forwarded-host-bin",
            "x-real-ip",
            "x-real-ip-bin",
            "slipway--bin",
        ] {
            assert!(is_stripped(name), "{name}");
        }
        for name in [
            "authorization",
            "grpc-timeout",
            "traceparent",
            "x-request-id",
            "slipway",
            "grpc-trace-bin",
            "te",
            "x-real-ip-address",
        ] {
            assert!(!is_stripped(name), "{name}");
        }
    }
}
