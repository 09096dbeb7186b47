-- Entities, their versions, and what lists filter and order by.

-- Content of accepted documents by hash; equal content is kept once.
CREATE TABLE body (
    hash TEXT NOT NULL PRIMARY KEY,
    head TEXT NOT NULL,
    document TEXT NOT NULL,
    raw TEXT NOT NULL
);

-- One narrow row per entity: what lists scan. Missing text is ''. Columns `k_` hold sort keys, equal on both engines.
CREATE TABLE entity (
    uid TEXT NOT NULL PRIMARY KEY,
    ref TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL,
    tier TEXT NOT NULL,
    owner TEXT NOT NULL,
    system TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    kind_type TEXT NOT NULL,
    location TEXT NOT NULL,
    version BIGINT NOT NULL,
    hash TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    k_ref BYTEA NOT NULL,
    k_kind BYTEA NOT NULL,
    k_namespace BYTEA NOT NULL,
    k_name BYTEA NOT NULL,
    k_title BYTEA NOT NULL,
    k_state BIGINT NOT NULL,
    k_tier BIGINT NOT NULL,
    k_owner BYTEA NOT NULL,
    k_system BYTEA NOT NULL,
    k_lifecycle BYTEA NOT NULL,
    k_type BYTEA NOT NULL
);
-- Wide enough that counts, and pages in the common orders, read the index alone.
CREATE INDEX entity_order ON entity (k_ref, k_state);
CREATE INDEX entity_kind ON entity (kind, k_ref, k_state, uid, owner, lifecycle, kind_type, tier);
CREATE INDEX entity_kind_title ON entity (kind, k_title, k_ref, k_state, uid);
CREATE INDEX entity_owner ON entity (owner, k_ref, k_state, kind);
CREATE INDEX entity_system ON entity (system);
CREATE INDEX entity_location ON entity (location);

-- Every version of an entity; the newest is the one served.
CREATE TABLE version (
    uid TEXT NOT NULL,
    number BIGINT NOT NULL,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    hash TEXT NOT NULL,
    location TEXT NOT NULL,
    path TEXT NOT NULL,
    idx BIGINT NOT NULL,
    line BIGINT NOT NULL,
    commit_sha TEXT NOT NULL,
    findings TEXT NOT NULL,
    recorded_us BIGINT NOT NULL,
    PRIMARY KEY (uid, number)
);

-- Values of tags, labels, annotations and spec by field; `rank` orders numbers and times.
CREATE TABLE attribute (
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    uid TEXT NOT NULL,
    rank TEXT NOT NULL,
    PRIMARY KEY (field, value, uid)
);
CREATE INDEX attribute_uid ON attribute (uid);

-- Relations as their source declares them; read from both ends.
CREATE TABLE edge (
    source TEXT NOT NULL,
    relation TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (source, relation, target)
);
CREATE INDEX edge_target ON edge (target, relation);

-- The one row that writers of entities take turns by, so that two locations never decide one reference at once.
CREATE TABLE ingest_turn (
    id BIGINT NOT NULL PRIMARY KEY
);
INSERT INTO ingest_turn (id) VALUES (1);
