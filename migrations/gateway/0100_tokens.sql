-- Platform tokens: the public id, the keyed hash of the whole, and what it may do (SAFE-21). 0 means never for times.
CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    uid TEXT NOT NULL,
    version BIGINT NOT NULL,
    display_name TEXT NOT NULL,
    owner TEXT NOT NULL,
    scopes TEXT NOT NULL,
    hash BYTEA NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    expires_us BIGINT NOT NULL,
    revoked_us BIGINT NOT NULL,
    last_use_us BIGINT NOT NULL
);
CREATE INDEX tokens_owner ON tokens (owner, created_us);
