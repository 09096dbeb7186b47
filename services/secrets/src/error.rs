//! Reasons that only the secrets service answers.
//!
//! Owns their words. Refuses values in them: paths, keys and versions at most.
use slipway_kit::reasons;

reasons! {
    VERSION_CONFLICT: Aborted, "The newest version of the secret is another than the write expected.", "Read the secret again and repeat with its version as `expected_version`.";
    TIER_CROSSING: PermissionDenied, "A binding asks for a secret of a higher tier than its environments have.", "Bind a secret of the same tier; staging and production values never reach lower tiers.";
    FORK_NO_SECRETS: FailedPrecondition, "The environment shows a fork's code and a binding holds for it; forks never get secrets.", "Build the change from a branch of the repository itself, or remove the binding.";
    SEALED: Unavailable, "The engine has no usable master key, so no value can be read or written; metadata works.", "Operators: put the right key file in place with mode 0600; it is looked for again every few seconds.";
    ROLLED_BACK: Unavailable, "The database is older than the engine's last known write: it was probably restored.", "A platform administrator checks what was lost and calls AcceptRollback.";
    NOT_ROLLED_BACK: FailedPrecondition, "No rollback is waiting to be accepted.", "Read the engine's state with GetEngine.";
    VALUE_DAMAGED: FailedPrecondition, "The stored value fails its integrity check: its row was changed or moved.", "Write the secret again, or restore the database; report it as a security incident.";
    BINDING_NOT_READY: FailedPrecondition, "A secret or key that a binding names does not exist, so nothing was delivered.", "Write the missing key, or take it out of the binding; the environment goes on by itself.";
    SECRET_TAKEN: FailedPrecondition, "The namespace has a Secret of the binding's name that another wrote; it is never overwritten.", "Remove or rename that Secret, or bind under another id.";
    NAMESPACE_CHANGED: FailedPrecondition, "The environment's namespace is gone, being deleted, or another of the same name.", "Nothing; the environment service looks again and delivers to the right one.";
    CREDENTIAL_UNUSABLE: FailedPrecondition, "The reference to the cluster's credential leads to nothing that may be used.", "Operators: put a kubeconfig with a token or client certificate below `credentials_root`; plugins, proxies and skipped TLS checks are refused.";
    DELIVERY_DENIED: FailedPrecondition, "The cluster refuses the delivery: the credential lacks a right on Secrets of the namespace, or a quota is used up.", "Operators: grant get, list, create, patch and delete on secrets, and get on namespaces.";
    DELIVERY_REFUSED: FailedPrecondition, "The cluster refuses the Secret itself.", "Deliver less than 1 MiB with one binding; ask the operators for policies on Secrets.";
    DELIVERY_UNREACHABLE: Unavailable, "The cluster that secrets are delivered to gives no usable answer.", "Repeat later; nothing starts without its secrets.";
    SECRET_DELETED: FailedPrecondition, "The secret is softly deleted.", "Undelete it, or write a new version.";
    ALREADY_DELETED: FailedPrecondition, "The secret is softly deleted already.", "Nothing is left to do.";
    NOT_DELETED: FailedPrecondition, "The secret is not deleted.", "Nothing is left to do.";
    VERSION_DESTROYED: FailedPrecondition, "The values of this version are destroyed for good.", "Use another version, or write a new one.";
}
