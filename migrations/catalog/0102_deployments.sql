-- Deployments as the metrics service tells of them: a projection, rebuilt from its journal.
CREATE TABLE deployment (
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    external_id TEXT NOT NULL,
    commit_sha TEXT NOT NULL,
    outcome TEXT NOT NULL,
    finished_us BIGINT NOT NULL,
    PRIMARY KEY (service, environment, external_id)
);
CREATE INDEX deployment_finished ON deployment (service, environment, finished_us);
