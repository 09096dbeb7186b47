-- Trust entries: which CI jobs of which repository may act on a service (SAFE-17). Repository and owner are the provider's ids,
-- never names; terms is what the job's token must say besides, and what it may do then, as JSON.
CREATE TABLE trust_entries (
    id TEXT NOT NULL PRIMARY KEY,
    uid TEXT NOT NULL,
    version BIGINT NOT NULL,
    issuer TEXT NOT NULL,
    repository_id BIGINT NOT NULL,
    service TEXT NOT NULL,
    terms TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE INDEX trust_entries_repository ON trust_entries (issuer, repository_id);
CREATE INDEX trust_entries_service ON trust_entries (service, created_us);
