-- Origins of documents, and every document as last read. Times are microseconds since the Unix epoch.

CREATE TABLE location (
    uid TEXT NOT NULL PRIMARY KEY,
    target_key TEXT NOT NULL UNIQUE,
    target TEXT NOT NULL,
    scm TEXT NOT NULL,
    repository TEXT NOT NULL,
    owner TEXT NOT NULL,
    organization BIGINT NOT NULL,
    templates BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    commit_sha TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    refreshed_us BIGINT NOT NULL
);
CREATE INDEX location_repository ON location (scm, repository);
CREATE INDEX location_created ON location (created_us, uid);

-- A document claims its reference if an entity of that reference could come from it; `idx` from 1,000,000 stands for a reference
-- that a broken document of the same file may hide.
CREATE TABLE document (
    location TEXT NOT NULL,
    path TEXT NOT NULL,
    idx BIGINT NOT NULL,
    ref TEXT NOT NULL,
    claims BIGINT NOT NULL,
    accepted BIGINT NOT NULL,
    hash TEXT NOT NULL,
    line BIGINT NOT NULL,
    claimed_us BIGINT NOT NULL,
    findings TEXT NOT NULL,
    PRIMARY KEY (location, path, idx)
);
CREATE INDEX document_ref ON document (ref);

-- Who owned a location that was deleted, so that repeating the deletion is decided as the first time.
CREATE TABLE location_gone (
    uid TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    deleted_us BIGINT NOT NULL
);
