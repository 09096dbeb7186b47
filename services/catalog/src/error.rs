//! Reasons of the catalog, beyond kit's.

slipway_kit::reasons! {
    LOCATION_UNREADABLE: FailedPrecondition, "The location's repository or file cannot be read.", "Check the target and the path; push the file first.";
    LOCATION_REGISTERED: AlreadyExists, "The target is registered already.", "Use the existing location, or refresh it.";
    LOCATION_BUILTIN: FailedPrecondition, "The location is built into the platform.", "Leave it as it is, and register further organisation sources.";
    MASS_REMOVAL: FailedPrecondition, "The read would remove more than a fifth of the location's entities.", "Check the source; to go on, refresh with `allow_mass_removal`.";
}
