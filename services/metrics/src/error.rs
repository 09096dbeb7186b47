//! Reasons that only the metrics service has.
slipway_kit::reasons! {
    IDEMPOTENCY_CONFLICT: AlreadyExists, "The key of the event was used before with another event; the first one stays.", "Give each event a key of its own; for a new version of a fact, a new key.";
    OCCURRED_IN_FUTURE: InvalidArgument, "The event names an instant more than ten minutes ahead of the platform's clock.", "Send events when they have happened, and check the sender's clock.";
    EDITION_UNKNOWN: InvalidArgument, "There is no edition of the benchmarks of that name.", "Use one of the editions listed in the message, or none.";
    DEPLOYMENT_UNKNOWN: NotFound, "The service has no deployment of that id.", "Check the id with ListDeployments.";
    INCIDENT_UNKNOWN: NotFound, "The service has no incident of that id.", "Check the id with ExplainMetric.";
    PIPELINE_RUN_UNKNOWN: NotFound, "There is no pipeline run of that name.", "Check the name with ListPipelineRuns.";
}
