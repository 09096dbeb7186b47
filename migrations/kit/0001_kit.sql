-- Tables that every service's database has; owned by kit. Times are microseconds since the Unix epoch.

-- Answers of mutations by request id (REL-39).
CREATE TABLE idempotency (
    principal TEXT NOT NULL,
    method TEXT NOT NULL,
    request_id TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    outcome TEXT NOT NULL,
    response TEXT NOT NULL,
    expires_us BIGINT NOT NULL,
    PRIMARY KEY (principal, method, request_id)
);
CREATE INDEX idempotency_expires ON idempotency (expires_us);

-- One record per decision; a mutation's is written in its own transaction (SAFE-72, SAFE-73).
CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    recorded_us BIGINT NOT NULL,
    principal TEXT NOT NULL,
    credential TEXT NOT NULL,
    peer TEXT NOT NULL,
    method TEXT NOT NULL,
    resource TEXT NOT NULL,
    resource_uid TEXT NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT NOT NULL,
    code TEXT NOT NULL,
    request_id TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    fields TEXT NOT NULL
);
CREATE INDEX audit_recorded ON audit (recorded_us);

-- Events in commit order; the counter row makes numbers appear in that order without gaps (REL-44).
CREATE TABLE journal_head (
    id BIGINT NOT NULL PRIMARY KEY,
    store_id TEXT NOT NULL,
    seq BIGINT NOT NULL
);
CREATE TABLE journal (
    seq BIGINT NOT NULL PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    event_key TEXT NOT NULL,
    payload TEXT NOT NULL,
    traceparent TEXT NOT NULL,
    created_us BIGINT NOT NULL
);
CREATE INDEX journal_key ON journal (event_key, seq);

-- Positions in other services' journals, and events already applied (REL-45). A consumer's name is `<consumer>/<producer>`.
CREATE TABLE consumer (
    name TEXT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL
);
CREATE TABLE consumed (
    consumer TEXT NOT NULL,
    event_id TEXT NOT NULL,
    applied_us BIGINT NOT NULL,
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX consumed_applied ON consumed (applied_us);
CREATE TABLE parked (
    consumer TEXT NOT NULL,
    event_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    event_key TEXT NOT NULL,
    event TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    last_error TEXT NOT NULL,
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX parked_key ON parked (consumer, event_key, seq);

-- Durable queue: one row per item that has something to do, claimed by member and epoch (REL-47, REL-48).
CREATE TABLE members (
    id TEXT NOT NULL PRIMARY KEY,
    lease_until_us BIGINT NOT NULL
);
CREATE TABLE work (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    next_us BIGINT NOT NULL,
    member TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    parked BIGINT NOT NULL,
    last_error TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX work_due ON work (kind, parked, next_us);
CREATE INDEX work_member ON work (member);

-- Webhook deliveries as the gateway verified them (SAFE-29).
CREATE TABLE inbox (
    source TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    event TEXT NOT NULL,
    body BYTEA NOT NULL,
    received_us BIGINT NOT NULL,
    done_us BIGINT NOT NULL,
    PRIMARY KEY (source, delivery_id)
);
CREATE INDEX inbox_done ON inbox (done_us);

-- Keys that seal what callers carry for us, such as page tokens.
CREATE TABLE seal_key (
    name TEXT NOT NULL PRIMARY KEY,
    secret BYTEA NOT NULL
);
