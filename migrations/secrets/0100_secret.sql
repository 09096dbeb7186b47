-- Secrets, their versions and the keys that seal them. No value and no hash of one stands here; values are ciphertext only.
-- Times are microseconds since the Unix epoch; 0 means never.

-- The embedded engine: who it is, a check that tells a wrong master key from damage, and the count of its writes.
CREATE TABLE engine (
    id BIGINT NOT NULL PRIMARY KEY,
    engine_id TEXT NOT NULL,
    key_check BYTEA NOT NULL,
    row_sum BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    created_us BIGINT NOT NULL
);

-- Services with secrets or bindings, by the first segment of their paths; facts as the catalog last told them.
CREATE TABLE service (
    segment TEXT NOT NULL PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    ref TEXT NOT NULL,
    owner TEXT NOT NULL,
    service_tier TEXT NOT NULL,
    key_id TEXT NOT NULL
);

-- Key-encryption keys of a service, wrapped by the master key; the service's row names the one for new versions.
CREATE TABLE service_key (
    segment TEXT NOT NULL REFERENCES service (segment),
    key_id TEXT NOT NULL,
    wrapped BYTEA NOT NULL,
    created_us BIGINT NOT NULL,
    PRIMARY KEY (segment, key_id)
);

CREATE TABLE secret (
    uid TEXT NOT NULL PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    segment TEXT NOT NULL REFERENCES service (segment),
    tier TEXT NOT NULL,
    environment_uid TEXT NOT NULL,
    description TEXT NOT NULL,
    version BIGINT NOT NULL,
    key_names TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    deleted_us BIGINT NOT NULL,
    creator TEXT NOT NULL,
    updater TEXT NOT NULL
);
CREATE INDEX secret_segment ON secret (segment, tier);

-- One version: its ciphertext under a data key of its own, wrapped by the service's key; both empty once destroyed. The chain
-- links it to the version before.
CREATE TABLE secret_version (
    path TEXT NOT NULL,
    version BIGINT NOT NULL,
    key_names TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    creator TEXT NOT NULL,
    destroyed_us BIGINT NOT NULL,
    destroy_reason TEXT NOT NULL,
    key_id TEXT NOT NULL,
    wrapped_key BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    chain BYTEA NOT NULL,
    PRIMARY KEY (path, version)
);

-- Who was shown what, for the hourly limit; the row of a principal is what concurrent reveals take turns on.
CREATE TABLE revealer (
    principal TEXT NOT NULL PRIMARY KEY,
    reveals BIGINT NOT NULL
);
CREATE TABLE reveal (
    id TEXT NOT NULL PRIMARY KEY,
    principal TEXT NOT NULL,
    revealed_us BIGINT NOT NULL
);
CREATE INDEX reveal_principal ON reveal (principal, revealed_us);
