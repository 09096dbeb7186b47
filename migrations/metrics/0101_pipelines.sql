-- Pipeline runs as the versions of each attempt add up; derived.
CREATE TABLE pipeline_runs (
    id TEXT NOT NULL PRIMARY KEY,
    repository TEXT NOT NULL,
    branch TEXT NOT NULL,
    sha TEXT NOT NULL,
    status TEXT NOT NULL,
    started_by TEXT NOT NULL,
    pull_request BIGINT NOT NULL,
    -- Begin, else queueing, else when it was first heard of.
    sort_us BIGINT NOT NULL,
    finished_us BIGINT NOT NULL,
    heard_us BIGINT NOT NULL,
    -- JSON list of the kinds of its stages.
    kinds TEXT NOT NULL,
    -- Attempts of one run share this.
    run_key TEXT NOT NULL,
    run TEXT NOT NULL
);
CREATE INDEX pipeline_runs_sort ON pipeline_runs (sort_us, id);

-- Services of a run.
CREATE TABLE run_services (
    service TEXT NOT NULL,
    run_id TEXT NOT NULL,
    finished_us BIGINT NOT NULL,
    PRIMARY KEY (service, run_id)
);
CREATE INDEX run_services_finished ON run_services (service, finished_us);
CREATE INDEX run_services_run ON run_services (run_id);
