-- Namespaces with our labels that belong to no environment (ENV-49). The body holds the noun.
CREATE TABLE orphans (
    -- Uid of the namespace.
    uid TEXT NOT NULL PRIMARY KEY,
    cluster TEXT NOT NULL,
    namespace TEXT NOT NULL,
    found_us BIGINT NOT NULL,
    -- 0 while it is there.
    gone_us BIGINT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX orphans_there ON orphans (cluster, gone_us);
CREATE INDEX orphans_found ON orphans (found_us, uid);
