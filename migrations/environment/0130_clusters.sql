-- Registered Kubernetes clusters; credentials are files elsewhere, named in the body.
CREATE TABLE clusters (
    id TEXT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    body TEXT NOT NULL
);
