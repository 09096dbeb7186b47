-- Facts of delivery. Times are microseconds since the Unix epoch, 0 where unknown.

-- Counter of the ledger: updated in every writing transaction, so that numbers appear in commit order.
CREATE TABLE ledger_head (
    id BIGINT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL
);
INSERT INTO ledger_head (id, seq) VALUES (1, 0);

-- Every accepted version of every fact; never changed but for what the catalog adds: the key of a fact that was parked.
CREATE TABLE facts (
    seq BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    fact_key TEXT NOT NULL,
    -- Owners whose services the fact may count for, as `,group,group,`; empty: all.
    claim TEXT NOT NULL,
    source TEXT NOT NULL,
    principal TEXT NOT NULL,
    -- Service the source hints at, taken only if the catalog puts the repository there.
    hint TEXT NOT NULL,
    occurred_us BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    payload_sha256 TEXT NOT NULL,
    payload TEXT NOT NULL,
    repository TEXT NOT NULL,
    environment TEXT NOT NULL,
    parked BIGINT NOT NULL,
    ingested_us BIGINT NOT NULL
);
CREATE INDEX facts_key ON facts (kind, fact_key);
CREATE INDEX facts_parked ON facts (parked, repository, environment);

-- Keys that callers gave their events (MET-14).
CREATE TABLE event_keys (
    principal TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body_sha256 TEXT NOT NULL,
    PRIMARY KEY (principal, idempotency_key)
);

-- Services as the catalog knows them.
CREATE TABLE services (
    service TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    repository TEXT NOT NULL,
    repository_path TEXT NOT NULL,
    known BIGINT NOT NULL
);
CREATE INDEX services_repository ON services (repository);

-- Greatest ledger number that touched a service or repository.
CREATE TABLE revisions (
    scope TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL
);

-- Deployments as the versions add up; derived.
CREATE TABLE deployments (
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    external_id TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    tier TEXT NOT NULL,
    status TEXT NOT NULL,
    origin TEXT NOT NULL,
    finished_us BIGINT NOT NULL,
    effective TEXT NOT NULL,
    updated_us BIGINT NOT NULL,
    PRIMARY KEY (service, environment, external_id)
);
CREATE INDEX deployments_finished ON deployments (service, finished_us);

-- Changes and pull requests: the latest version of each; derived.
CREATE TABLE repository_facts (
    repository TEXT NOT NULL,
    kind TEXT NOT NULL,
    item TEXT NOT NULL,
    claim TEXT NOT NULL,
    fact TEXT NOT NULL,
    occurred_us BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    payload_sha256 TEXT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (repository, kind, item, claim)
);
CREATE INDEX repository_facts_seq ON repository_facts (repository, kind, seq);

-- Incidents as each affected service sees them; derived.
CREATE TABLE incidents (
    service TEXT NOT NULL,
    external_id TEXT NOT NULL,
    fact TEXT NOT NULL,
    PRIMARY KEY (service, external_id)
);

-- Enrolments; derived.
CREATE TABLE enrolments (
    service TEXT NOT NULL PRIMARY KEY,
    fact TEXT NOT NULL
);

-- Steps in the life of a service; derived.
CREATE TABLE milestones (
    service TEXT NOT NULL,
    kind TEXT NOT NULL,
    fact TEXT NOT NULL,
    PRIMARY KEY (service, kind)
);

-- Corrections of attributions.
CREATE TABLE corrections (
    id TEXT NOT NULL PRIMARY KEY,
    service TEXT NOT NULL,
    seq BIGINT NOT NULL,
    fact TEXT NOT NULL
);
CREATE INDEX corrections_service ON corrections (service, seq);
