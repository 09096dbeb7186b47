//! Reasons of the gateway, documented once each.

use slipway_kit::{error::Error, reasons};

/// Result with Slipway's error, unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

reasons! {
    LAST_ADMINISTRATOR: FailedPrecondition, "This is the last role binding of `platform-admin`; without it nobody could administer the platform.", "Bind another administrator first.";
    TOKEN_SCOPE_TOO_WIDE: PermissionDenied, "The token would get a scope that the credential of this call does not have.", "Ask only for scopes of your own credential, or use one without limits.";
    TRUST_ENTRIES_FULL: ResourceExhausted, "The repository has as many trust entries as one may have.", "Delete an entry that is not needed any more, or let one entry list more events, refs or permissions.";
    AUTHORIZATION_LOST: FailedPrecondition, "The principal that started this work may no longer do it.", "Give the right back, or start the work again as someone who has it.";
    ROUTE_UNKNOWN: NotFound, "No RPC has this HTTP method and path.", "Look the path up in /openapi.json.";
    REQUEST_UNREADABLE: InvalidArgument, "The body or a parameter is not the JSON form of the request.", "Send what /openapi.json says for this path.";
}
