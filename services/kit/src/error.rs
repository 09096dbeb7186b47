//! Errors as callers read them: a documented reason, a kind that maps to gRPC and HTTP in one table, and typed details.
//!
//! Owns the only mapping to `tonic::Status`. Refuses ad-hoc reasons: an error can only be made from a [`Reason`], which carries
//! its cause and what to do next, so that no reason exists without documentation (SAFE-43).
use std::{collections::BTreeMap, error::Error as StdError, fmt};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

mod wire;

pub use wire::error_from;
pub(crate) use wire::{of_channel, outcome, repair, response, trailers};

/// Result with Slipway's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Domain of every ErrorInfo.
pub const DOMAIN: &str = "slipway.dev";
/// Longest status message in bytes (REL-14).
const MESSAGE_BYTES_MAX: usize = 1024;
/// Most violations that are sent, so that all details stay below 4 KiB (REL-14).
const VIOLATIONS_MAX: usize = 40;

/// Class of an error; decides the gRPC and the HTTP code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong.
    InvalidArgument,
    /// The caller has no valid credential.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// The resource does not exist.
    NotFound,
    /// The resource exists already.
    AlreadyExists,
    /// The resource is not in a state that allows this.
    FailedPrecondition,
    /// A concurrent change won; read again and repeat.
    Aborted,
    /// A limit or quota is used up.
    ResourceExhausted,
    /// A position lies outside what is kept.
    OutOfRange,
    /// The RPC does not exist.
    Unimplemented,
    /// The time of the call ran out.
    DeadlineExceeded,
    /// The caller gave up.
    Cancelled,
    /// A dependency is away; the same call may succeed later.
    Unavailable,
    /// A defect of ours.
    Internal,
}

impl Kind {
    /// The gRPC code of this kind.
    pub fn code(self) -> Code {
        self.row().0
    }

    /// The HTTP status of this kind, as in google.rpc.Code.
    pub fn http(self) -> u16 {
        self.row().1
    }

    fn row(self) -> (Code, u16) {
        match self {
            Kind::InvalidArgument => (Code::InvalidArgument, 400),
            Kind::Unauthenticated => (Code::Unauthenticated, 401),
            Kind::PermissionDenied => (Code::PermissionDenied, 403),
            Kind::NotFound => (Code::NotFound, 404),
            Kind::AlreadyExists => (Code::AlreadyExists, 409),
            Kind::FailedPrecondition => (Code::FailedPrecondition, 400),
            Kind::Aborted => (Code::Aborted, 409),
            Kind::ResourceExhausted => (Code::ResourceExhausted, 429),
            Kind::OutOfRange => (Code::OutOfRange, 400),
            Kind::Unimplemented => (Code::Unimplemented, 501),
            Kind::DeadlineExceeded => (Code::DeadlineExceeded, 504),
            Kind::Cancelled => (Code::Cancelled, 499),
            Kind::Unavailable => (Code::Unavailable, 503),
            Kind::Internal => (Code::Internal, 500),
        }
    }

    /// Whether a repeat with the same request id gets the stored error (REL-40).
    pub fn is_definite(self) -> bool {
        !matches!(
            self,
            Kind::Unavailable | Kind::DeadlineExceeded | Kind::Cancelled | Kind::ResourceExhausted | Kind::Internal
        )
    }
}

/// A documented reason; declared with [`crate::reasons!`].
#[derive(Debug)]
pub struct Reason {
    /// Stable word in ErrorInfo.
    pub name: &'static str,
    /// Class of the error.
    pub kind: Kind,
    /// Why this happens.
    pub cause: &'static str,
    /// What the caller does next.
    pub next: &'static str,
}

/// Declares reasons as statics, and `REASONS` listing them for `docs/errors.md`.
#[macro_export]
macro_rules! reasons {
    ($($name:ident: $kind:ident, $cause:expr, $next:expr;)+) => {
        $(
            #[doc = $cause]
            pub static $name: $crate::error::Reason = $crate::error::Reason {
                name: stringify!($name), kind: $crate::error::Kind::$kind, cause: $cause, next: $next,
            };
        )+
        /// Every reason declared here, for the generated reference.
        pub static REASONS: &[&$crate::error::Reason] = &[$(&$name),+];
    };
}

reasons! {
    INVALID_FIELD: InvalidArgument, "One or more fields break a rule; every violation is listed.", "Correct the named fields and repeat.";
    FILTER_INVALID: InvalidArgument, "The filter does not parse or names an unknown field.", "Write the filter as AIP-160 with the fields listed in the message.";
    ORDER_INVALID: InvalidArgument, "The order names a field that cannot be sorted by.", "Use up to four of the fields listed in the message, each optionally with `desc`.";
    PAGE_TOKEN_INVALID: InvalidArgument, "The page token is forged, expired or was made for another request.", "Start again without a page token.";
    REQUEST_ID_REUSED: InvalidArgument, "The request id was used before with another request.", "Use a new request id for a new request.";
    INVALID_CREDENTIALS: Unauthenticated, "No valid credential came with the call.", "Send one `authorization: Bearer` header with a valid token.";
    TOKEN_EXPIRED: Unauthenticated, "The token is genuine and its time is over.", "Get a new token and repeat.";
    PERMISSION_DENIED: PermissionDenied, "The caller may not do this, or the resource does not exist for the caller.", "Ask a maintainer of the owning team, or check the name.";
    NOT_FOUND: NotFound, "There is no such resource.", "Check the name with the matching List call.";
    SERVICE_UNKNOWN: NotFound, "The catalog knows no such entity.", "Register the service in the catalog, or check the reference.";
    ALREADY_EXISTS: AlreadyExists, "A resource of that name exists.", "Choose another name, or use the existing resource.";
    ETAG_MISMATCH: Aborted, "The resource changed since it was read.", "Read it again and repeat with its current etag.";
    OPERATION_IN_PROGRESS: Aborted, "The same request is being worked on.", "Repeat with the same request id a little later.";
    CONFLICT: Aborted, "A concurrent change won.", "Read again and repeat.";
    SLOW_CONSUMER: Aborted, "The stream was read too slowly.", "Resume from the last token received.";
    RESUME_TOKEN_EXPIRED: OutOfRange, "The position is older than what is kept, or of another store.", "List again, then watch from the new position.";
    URL_NOT_ALLOWED: FailedPrecondition, "The address is not one this installation may fetch from.", "Use an allowed host, or ask an administrator to allow this one.";
    STALE_EPOCH: FailedPrecondition, "Somebody else works on this by now, under a higher epoch.", "Nothing; whoever has the higher epoch goes on.";
    RESPONSE_NOT_REPLAYABLE: FailedPrecondition, "The first answer held a secret and was not kept.", "Read the resource, or repeat with a new request id.";
    OVERLOADED: ResourceExhausted, "The service sheds load.", "Wait as RetryInfo says and repeat.";
    RATE_LIMITED: ResourceExhausted, "The caller's rate is used up.", "Wait as RetryInfo says and repeat.";
    MESSAGE_TOO_LARGE: ResourceExhausted, "The message is larger than the limit.", "Send less at once.";
    DEADLINE_EXCEEDED: DeadlineExceeded, "The time of the call ran out.", "Repeat with the same request id and a longer deadline.";
    DATABASE_UNAVAILABLE: Unavailable, "The service's database does not answer.", "Repeat with the same request id later.";
    DEPENDENCY_UNAVAILABLE: Unavailable, "A service or tool this call needs is away.", "Repeat with the same request id later.";
    AUDIT_UNAVAILABLE: Unavailable, "The audit record could not be written, so nothing was done.", "Repeat with the same request id later.";
    CANCELLED: Cancelled, "The caller gave up.", "Nothing; repeat with the same request id if the answer is still wanted.";
    MALFORMED_CALL: InvalidArgument, "The call's framing, headers or message bytes are not valid.", "Use a generated client, or correct what the message names.";
    SHUTTING_DOWN: Unavailable, "This process is stopping.", "Repeat at once; a stream resumes from its last token.";
    INVALID_CONFIG: InvalidArgument, "The configuration is not valid; every problem is listed.", "Correct the named keys and start again.";
    METHOD_UNKNOWN: Unimplemented, "There is no such RPC.", "List the services by reflection.";
    INTERNAL: Internal, "A defect of ours; the log has the cause under the request id.", "Report the request id.";
}

/// An error with a documented reason and typed details; the source stays inside the process.
pub struct Error {
    reason: &'static Reason,
    message: String,
    details: Box<Details>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Default)]
struct Details {
    violations: Vec<(String, String)>,
    metadata: BTreeMap<String, String>,
    preconditions: Vec<(String, String, String)>,
    quotas: Vec<(String, String)>,
    resource: Option<(String, String)>,
    retry_after_ms: Option<u64>,
}

impl Error {
    /// An error of `reason`, worded for the caller.
    pub fn new(reason: &'static Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), details: Box::default(), source: None }
    }

    /// INTERNAL with the cause kept for the log only.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(&INTERNAL, "internal error").source(source)
    }

    /// Several mistakes of one request as one error; a single one stays as it is.
    pub(crate) fn together(mut errors: Vec<Error>) -> Self {
        if errors.len() == 1 {
            return errors.remove(0);
        }
        let said: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        let mut all = Self::new(&INVALID_FIELD, said.join("; "));
        for mut error in errors {
            all.details.metadata.append(&mut error.details.metadata);
            all.details.violations.append(&mut error.details.violations);
        }
        all
    }

    /// Adds a field violation.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, rule: impl Into<String>) -> Self {
        self.details.violations.push((field.into(), rule.into()));
        self
    }

    /// Adds a key and value to ErrorInfo.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.metadata.insert(key.into(), value.into());
        self
    }

    /// Names the resource the error is about.
    #[must_use]
    pub fn resource(mut self, kind: impl Into<String>, name: impl Into<String>) -> Self {
        self.details.resource = Some((kind.into(), name.into()));
        self
    }

    /// Adds a failed precondition with what to do.
    #[must_use]
    pub fn precondition(
        mut self,
        kind: impl Into<String>,
        subject: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        self.details.preconditions.push((kind.into(), subject.into(), what.into()));
        self
    }

    /// Adds a used-up quota.
    #[must_use]
    pub fn quota(mut self, subject: impl Into<String>, what: impl Into<String>) -> Self {
        self.details.quotas.push((subject.into(), what.into()));
        self
    }

    /// Says when a repeat makes sense.
    #[must_use]
    pub fn retry_after_ms(mut self, after_ms: u64) -> Self {
        self.details.retry_after_ms = Some(after_ms);
        self
    }

    /// Keeps the cause for the log; it never leaves the process.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Class of the error.
    pub fn kind(&self) -> Kind {
        self.reason.kind
    }

    /// The documented reason.
    pub fn reason(&self) -> &'static Reason {
        self.reason
    }

    /// Whether this error was made from `reason`.
    pub fn is(&self, reason: &Reason) -> bool {
        self.reason.name == reason.name
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// After how many milliseconds a repeat makes sense, if that is known.
    pub fn retry_after(&self) -> Option<u64> {
        self.details.retry_after_ms
    }

    /// Field violations in the order they were found.
    pub fn violations(&self) -> &[(String, String)] {
        &self.details.violations
    }

    fn to_details(&self) -> ErrorDetails {
        let mut details = ErrorDetails::with_error_info(
            self.reason.name,
            DOMAIN,
            self.details.metadata.clone().into_iter().collect::<std::collections::HashMap<_, _>>(),
        );
        for (field, rule) in self.details.violations.iter().take(VIOLATIONS_MAX) {
            details.add_bad_request_violation(field, rule);
        }
        for (kind, subject, what) in &self.details.preconditions {
            details.add_precondition_failure_violation(kind, subject, what);
        }
        for (subject, what) in &self.details.quotas {
            details.add_quota_failure_violation(subject, what);
        }
        if let Some((kind, name)) = &self.details.resource {
            details.set_resource_info(kind, name, "", "");
        }
        if let Some(after_ms) = self.details.retry_after_ms {
            details.set_retry_info(Some(std::time::Duration::from_millis(after_ms)));
        }
        details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name, self.message)?;
        for (field, rule) in &self.details.violations {
            write!(f, "; {field}: {rule}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause: Option<&(dyn StdError + 'static)> = self.source.as_deref().map(|s| s as _);
        while let Some(error) = cause {
            write!(f, " <- {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

impl From<Error> for Status {
    /// Maps once, logs the inner cause once, and sends nothing of it (SAFE-43).
    fn from(error: Error) -> Status {
        if error.source.is_some() || error.kind() == Kind::Internal {
            tracing::error!(reason = error.reason.name, error = ?error, "call failed");
        }
        let mut message = error.message.clone();
        if message.len() > MESSAGE_BYTES_MAX {
            let cut = (0..=MESSAGE_BYTES_MAX).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(cut);
        }
        Status::with_error_details(error.kind().code(), message, error.to_details())
    }
}

/// Collects field violations so that all are told at once.
#[derive(Default)]
pub struct Violations(Vec<(String, String)>);

impl Violations {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a violation of `field` unless `holds`.
    pub fn check(&mut self, holds: bool, field: impl Into<String>, rule: impl Into<String>) {
        if !holds {
            self.add(field, rule);
        }
    }

    /// Adds a violation.
    pub fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push((field.into(), rule.into()));
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// OK, or INVALID_FIELD with every violation.
    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let fields = self.0.iter().map(|(f, _)| f.as_str()).collect::<Vec<_>>().join(", ");
        let mut error = Error::new(&INVALID_FIELD, format!("invalid: {fields}"));
        error.details.violations = self.0;
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_violations_reach_the_caller_at_once() {
        let mut v = Violations::new();
        v.check(false, "name", "must be a DNS label");
        v.check(true, "owner", "must exist");
        v.check(false, "tier", "must be critical, standard or experimental");
        let status = Status::from(v.finish().expect_err("two rules are broken"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let bad = status.get_error_details();
        let fields: Vec<_> =
            bad.bad_request().expect("details").field_violations.iter().map(|f| f.field.clone()).collect();
        assert_eq!(fields, ["name", "tier"]);
        assert_eq!(bad.error_info().expect("info").reason, "INVALID_FIELD");
    }

    #[test]
    fn the_inner_cause_stays_inside() {
        let status = Status::from(Error::internal(std::io::Error::other("password=hunter2")));
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("hunter2"));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let status = Status::from(Error::new(&NOT_FOUND, "ü".repeat(2000)));
        assert!(status.message().len() <= MESSAGE_BYTES_MAX);
    }
}
