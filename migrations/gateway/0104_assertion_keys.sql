-- Public keys that caller assertions are checked with (SAFE-25): one per running gateway and day, until it is told of no more.
-- The private keys are in no database: each lives and ends with its process.
CREATE TABLE assertion_keys (
    id TEXT NOT NULL PRIMARY KEY,
    public_key BYTEA NOT NULL,
    created_us BIGINT NOT NULL,
    expires_us BIGINT NOT NULL
);
