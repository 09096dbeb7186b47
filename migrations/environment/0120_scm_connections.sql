-- SCM connections that were made while running; those of the configuration are not here.
CREATE TABLE scm_connections (
    id TEXT NOT NULL PRIMARY KEY,
    uid TEXT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL
);
