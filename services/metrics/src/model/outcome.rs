//! What became of an event of a batch.

/// Result of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Key of the event.
    pub idempotency_key: String,
    /// Known already.
    pub duplicate: bool,
    /// Kept, but waits for a service.
    pub parked: bool,
    /// Refused.
    pub fault: Option<Fault>,
}

/// Why an event was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Code of google.rpc.Code.
    pub code: i32,
    /// Documented reason.
    pub reason: String,
    /// Sentence for people.
    pub message: String,
    /// Fields and the rules they break.
    pub violations: Vec<(String, String)>,
}
