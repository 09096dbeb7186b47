//! What libraries and siblings say becomes ours, and nothing of theirs leaks.
use super::*;
use crate::error::{INVALID_FIELD, NOT_FOUND};

fn info(headers: &HeaderMap) -> (Code, String) {
    let status = Status::from_header_map(headers).expect("a status");
    (status.code(), status.get_error_details().error_info().expect("every error carries one").reason.clone())
}

#[test]
fn what_the_library_says_becomes_ours() {
    let cases = [
        (Status::new(Code::OutOfRange, "message too large"), Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        (Status::new(Code::Internal, "Missing request message."), Code::Unimplemented, "METHOD_UNKNOWN"),
        (Status::new(Code::Internal, "failed to decode Protobuf message: x"), Code::InvalidArgument, "MALFORMED_CALL"),
        (Status::new(Code::Unknown, "?"), Code::Internal, "INTERNAL"),
    ];
    for (status, code, reason) in cases {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).expect("fits");
        repair(&mut headers);
        assert_eq!(info(&headers), (code, reason.to_owned()));
    }
}

#[test]
fn success_and_our_own_errors_stay() {
    let mut ok = HeaderMap::new();
    Status::new(Code::Ok, "").add_header(&mut ok).expect("fits");
    repair(&mut ok);
    assert_eq!(ok.get("grpc-status").expect("stays"), "0");
    let mut own = trailers(Error::new(&NOT_FOUND, "no such thing"));
    repair(&mut own);
    assert_eq!(info(&own), (Code::NotFound, "NOT_FOUND".to_owned()));
}

#[test]
fn a_siblings_mistake_keeps_its_reason_and_its_failure_does_not() {
    let bad = Status::from(Error::new(&INVALID_FIELD, "invalid: name").violation("name", "must be a label"));
    let error = error_from(bad);
    assert!(error.is(&INVALID_FIELD));
    assert_eq!(error.violations(), [("name".to_owned(), "must be a label".to_owned())]);
    static THEIRS: Reason = Reason { name: "REPOSITORY_TAKEN", kind: Kind::AlreadyExists, cause: "c", next: "n" };
    let theirs = error_from(Status::from(Error::new(&THEIRS, "taken")));
    assert_eq!(
        (theirs.reason().name, theirs.kind(), theirs.message()),
        ("REPOSITORY_TAKEN", Kind::AlreadyExists, "taken")
    );
    for code in [Code::Unavailable, Code::Internal, Code::Unknown, Code::Unauthenticated, Code::Unimplemented] {
        assert!(error_from(Status::new(code, "secret inside")).is(&DEPENDENCY_UNAVAILABLE), "{code:?}");
    }
}
