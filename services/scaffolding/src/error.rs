//! Reasons of this service.
slipway_kit::reasons! {
    TEMPLATE_UNKNOWN: NotFound, "There is no template or revision of that name.", "List the templates and take one of their names.";
    TEMPLATE_INVALID: InvalidArgument, "The template breaks a rule; each finding is listed with its place.", "Correct the named places and publish again.";
    REVISION_EXISTS: AlreadyExists, "That version was published with other content.", "Raise the version in template.yaml.";
    VERSION_TOO_LOW: FailedPrecondition, "The version is lower than the newest and no patch of an older minor line.", "Raise the version above the newest one.";
    NO_STABLE_REVISION: FailedPrecondition, "The template has no stable revision.", "Name a revision, or publish a stable one.";
    RUN_ENDED: FailedPrecondition, "The run has ended and does not change any more.", "Start a new run.";
    CATALOG_REFUSED: FailedPrecondition, "The catalog does not serve the entity of the new repository.", "Read the findings in the message, and correct the catalog file of the template.";
}
