//! What callers of the environment service read when something does not go.
//!
//! Owns this service's reasons. Refuses to word internals: those stay in the log.
slipway_kit::reasons! {
    STALE_COMMIT: FailedPrecondition, "The pull request has another head than the one named.", "Read the head in the metadata; a newer run deploys it.";
    PULL_REQUEST_ENDED: FailedPrecondition, "The pull request is closed or merged, or its branch is gone.", "Reopen the pull request, or open another one.";
    PREVIEW_ENDED: FailedPrecondition, "The preview of this pull request was deleted and ending is sticky.", "Reopen the pull request to get a new one.";
    PREVIEW_DISABLED: FailedPrecondition, "The service's configuration gives this pull request no preview.", "Change `.slipway/environments.yaml`, or set the label it asks for.";
    ENVIRONMENT_DELETING: FailedPrecondition, "The environment is being torn down.", "Wait until it is deleted, then create it again.";
    SERVICE_WITHOUT_REPOSITORY: FailedPrecondition, "The catalog knows no repository of the service on a connection of this platform.", "Set the source annotation of the service in its catalog-info.yaml.";
    SCM_UNKNOWN: FailedPrecondition, "There is no SCM connection of that name.", "Configure the connection, or correct the service's source.";
    SCM_UNREACHABLE: Unavailable, "The source provider gives no usable answer.", "Repeat with the same request id later; nothing was changed.";
    SCM_CONFIGURED: FailedPrecondition, "The SCM connection stands in the configuration file.", "Change it there and start the platform again, or make another one.";
    SCM_IN_USE: FailedPrecondition, "Environments follow the SCM connection.", "Delete those environments first.";
    BRANCH_UNKNOWN: NotFound, "The service's repository has no such branch.", "Push the branch first, or correct its name.";
    NOT_A_FORK: FailedPrecondition, "The preview does not show a fork, so that there is nothing to approve.", "Nothing; previews of branches of the repository itself run without approval.";
    SELF_APPROVAL: FailedPrecondition, "The author of a pull request cannot approve it.", "Let another member of the owning team look at the commit and approve it.";
    APPROVAL_MISSING: FailedPrecondition, "The preview shows a fork, and nobody approved the commit it shows.", "Call ApprovePreview with the commit, as a member of the owning team who is not its author.";
    IMAGE_UNKNOWN: FailedPrecondition, "An image that the configuration declares has no digest for this commit.", "Build it of the commit and name `<repository>@sha256:<digest>` in `images`.";
    NETWORK_NOT_ENFORCED: FailedPrecondition, "The cluster does not enforce network policies, so that a fork's code could reach others.", "Install a network plugin that enforces them, and run CheckCluster; or let the platform put previews on another cluster.";
    CLUSTER_UNKNOWN: NotFound, "There is no cluster of that name.", "Use a configured cluster, or leave it out.";
    CLUSTER_UNREACHABLE: Unavailable, "The cluster gives no usable answer.", "Repeat with the same request id later; look at the cluster's API server if it stays so.";
    CLUSTER_BUSY: ResourceExhausted, "The cluster's API server sheds load.", "Wait as RetryInfo says and repeat.";
    CLUSTER_FORBIDS: Unavailable, "The platform's account in the cluster lacks a permission.", "Apply the ClusterRole that CheckCluster prints.";
    TEAM_BUDGET: ResourceExhausted, "The budget of the team or of the service has no room for this.", "Put idle environments to sleep, of which the metadata names some, delete what is not needed, or ask the platform team for a larger budget.";
    TTL_TOO_LONG: InvalidArgument, "The time to live is above the cap of the tier.", "Ask for at most the cap in the message; extend it later.";
    CLUSTER_UNFIT: FailedPrecondition, "The cluster fails a check that environments cannot do without.", "Follow the remedies in the message; run the checks alone with `validate_only`.";
    CLUSTER_IN_USE: FailedPrecondition, "Living environments are on the cluster.", "Delete or move the environments that the message names.";
    CLUSTER_CONFIGURED: FailedPrecondition, "The cluster stands in the platform's configuration.", "Change it there.";
    CLUSTER_NOT_OBSERVED: FailedPrecondition, "The environment is published to git and its cluster is not observed.", "Look at what reads the GitOps repository, or register the cluster with the target apply.";
    WORKLOAD_UNKNOWN: NotFound, "The environment has no such workload or pod now.", "Use one that the message lists; pods change with every rollout.";
    NEVER_SLEEPS: FailedPrecondition, "An environment of this tier never sleeps.", "Put a development or staging environment to sleep.";
    NOTHING_TO_RETRY: FailedPrecondition, "The environment did not fail.", "Read its state; only FAILED can be tried again.";
    NEEDS_PERSON: FailedPrecondition, "Only a person can do this, not a pipeline or a service.", "Sign in as yourself and repeat.";
    DELETE_NOT_OPEN: FailedPrecondition, "No deletion of this environment waits for confirmation, or its time is over.", "Call DeleteEnvironment and confirm with its token within 15 minutes.";
    CONFIRMED_ALREADY: FailedPrecondition, "The same person cannot confirm twice.", "Let another person of the tier's approvers confirm.";
    HOLD_RELEASED: FailedPrecondition, "The hold does not stand any more.", "List the holds that stand; nothing waits for this one.";
    ORPHAN_GONE: FailedPrecondition, "The orphan is not in the cluster any more, or belongs to an environment.", "List the orphans; there is nothing to delete.";
    SUPERSEDED: Aborted, "A newer generation, or the end of this environment, was written already.", "Nothing; the newer one stands.";
}
