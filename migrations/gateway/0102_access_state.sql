-- One row: the version every change of access raises, so that no process decides on older facts (SAFE-40), whether the first
-- administrator was made, and the id of the first token while it is unused.
CREATE TABLE access_state (
    id BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    started BIGINT NOT NULL,
    first_token TEXT NOT NULL
);
INSERT INTO access_state (id, version, started, first_token) VALUES (1, 1, 0, '');
