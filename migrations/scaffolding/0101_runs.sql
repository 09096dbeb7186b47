-- Durable runs: their state, the journal of their effects, their events and workspaces.

CREATE TABLE runs (
    uid TEXT NOT NULL PRIMARY KEY,
    create_us BIGINT NOT NULL,
    update_us BIGINT NOT NULL,
    end_us BIGINT NOT NULL,
    changes BIGINT NOT NULL,
    state TEXT NOT NULL,
    template TEXT NOT NULL,
    owner TEXT NOT NULL,
    initiator TEXT NOT NULL,
    service TEXT NOT NULL,
    document TEXT NOT NULL
);
CREATE INDEX runs_create ON runs (create_us, uid);
CREATE INDEX runs_initiator ON runs (initiator, create_us);
CREATE INDEX runs_owner ON runs (owner, create_us);
CREATE INDEX runs_end ON runs (end_us);

-- Intent before an effect, outcome after it; an intent without an outcome is looked for in the world before it is repeated.
CREATE TABLE run_effects (
    run TEXT NOT NULL,
    step TEXT NOT NULL,
    iteration BIGINT NOT NULL,
    input_digest TEXT NOT NULL,
    effect_key TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    intent_us BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    outcome_us BIGINT NOT NULL,
    PRIMARY KEY (run, step, iteration)
);

CREATE TABLE run_events (
    run TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (run, sequence)
);

CREATE TABLE run_files (
    run TEXT NOT NULL,
    path TEXT NOT NULL,
    executable BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (run, path)
);
CREATE INDEX run_files_blob ON run_files (sha256);
