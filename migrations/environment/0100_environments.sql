-- Environments, one row per life. Columns beside the body are for finding and for uniqueness; the body holds the noun.
CREATE TABLE environments (
    uid TEXT NOT NULL PRIMARY KEY,
    label_id TEXT NOT NULL,
    natural_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    tier TEXT NOT NULL,
    service TEXT NOT NULL,
    service_uid TEXT NOT NULL,
    owner TEXT NOT NULL,
    user_ref TEXT NOT NULL,
    cluster TEXT NOT NULL,
    namespace TEXT NOT NULL,
    scm TEXT NOT NULL,
    repository_id TEXT NOT NULL,
    branch TEXT NOT NULL,
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    -- When the source was seen to have ended it; 0 if it has not.
    source_ended_us BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    deleted_us BIGINT NOT NULL,
    body TEXT NOT NULL
);
-- At most one life per key, label and namespace is not deleted (ENV-2, ENV-5, ENV-6).
CREATE UNIQUE INDEX environments_living_key ON environments (natural_key) WHERE deleted_us = 0;
CREATE UNIQUE INDEX environments_living_label ON environments (label_id) WHERE deleted_us = 0;
CREATE UNIQUE INDEX environments_living_namespace ON environments (namespace) WHERE deleted_us = 0;
CREATE INDEX environments_label ON environments (label_id, created_us);
CREATE INDEX environments_created ON environments (created_us, uid);
CREATE INDEX environments_service ON environments (service, deleted_us);
CREATE INDEX environments_source ON environments (scm, repository_id, branch, deleted_us);

-- Host labels belong to a natural key for ever, so that no address changes hands.
CREATE TABLE hosts (
    label_id TEXT NOT NULL PRIMARY KEY,
    natural_key TEXT NOT NULL UNIQUE,
    reserved_us BIGINT NOT NULL
);

-- What remains of the last life under a key: closing is sticky (ENV-23).
CREATE TABLE tombstones (
    natural_key TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);

-- Rendered files of the newest generation, between rendering and publishing.
CREATE TABLE renders (
    uid TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    files TEXT NOT NULL
);

-- Deletions of staging and production that wait for confirmation (ENV-43).
CREATE TABLE deletions (
    uid TEXT NOT NULL PRIMARY KEY,
    token TEXT NOT NULL,
    requester TEXT NOT NULL,
    confirmers TEXT NOT NULL,
    expire_us BIGINT NOT NULL
);

-- Receipts of teardowns, kept for 90 days (ENV-45).
CREATE TABLE receipts (
    uid TEXT NOT NULL PRIMARY KEY,
    service TEXT NOT NULL,
    owner TEXT NOT NULL,
    deleted_us BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX receipts_deleted ON receipts (deleted_us, uid);
