-- Templates and their immutable revisions. Times are microseconds since the Unix epoch.

-- Contents of files by hash, shared by revisions and workspaces.
CREATE TABLE blobs (
    sha256 TEXT NOT NULL PRIMARY KEY,
    content BYTEA NOT NULL,
    touched_us BIGINT NOT NULL
);

CREATE TABLE templates (
    id TEXT NOT NULL PRIMARY KEY,
    uid TEXT NOT NULL,
    changes BIGINT NOT NULL,
    create_us BIGINT NOT NULL,
    update_us BIGINT NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    tags TEXT NOT NULL,
    stable_version TEXT NOT NULL,
    pages TEXT NOT NULL
);

CREATE TABLE revisions (
    template TEXT NOT NULL,
    version TEXT NOT NULL,
    -- The version as text that sorts as versions do.
    sort_key TEXT NOT NULL,
    uid TEXT NOT NULL,
    create_us BIGINT NOT NULL,
    digest TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    security BIGINT NOT NULL,
    publisher TEXT NOT NULL,
    file_count BIGINT NOT NULL,
    findings TEXT NOT NULL,
    PRIMARY KEY (template, version)
);

CREATE TABLE revision_files (
    template TEXT NOT NULL,
    version TEXT NOT NULL,
    path TEXT NOT NULL,
    executable BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (template, version, path)
);
CREATE INDEX revision_files_blob ON revision_files (sha256);
