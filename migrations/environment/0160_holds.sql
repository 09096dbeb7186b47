-- Holds: while one stands, nothing is deleted because of its source (ENV-41). The body holds the noun.
CREATE TABLE holds (
    uid TEXT NOT NULL PRIMARY KEY,
    scm TEXT NOT NULL,
    -- Empty for the whole source.
    repository_id TEXT NOT NULL,
    cause TEXT NOT NULL,
    since_us BIGINT NOT NULL,
    -- 0 while it stands.
    released_us BIGINT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL
);
-- One of a cause stands at a time.
CREATE UNIQUE INDEX holds_standing ON holds (scm, repository_id, cause) WHERE released_us = 0;
CREATE INDEX holds_since ON holds (since_us, uid);

-- Endings of one source are counted one after the other: each takes this row first.
CREATE TABLE source_gates (
    scm TEXT NOT NULL PRIMARY KEY,
    passed BIGINT NOT NULL
);

-- When the source was first read as having ended it, and when a webhook last spoke of it; 0 if never.
ALTER TABLE environments ADD COLUMN believed_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN told_us BIGINT NOT NULL DEFAULT 0;
