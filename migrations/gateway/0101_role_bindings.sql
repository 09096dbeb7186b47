-- Role bindings: one role of one user or group, on a team, or on the whole platform when team is empty (SAFE-30).
CREATE TABLE role_bindings (
    uid TEXT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    subject TEXT NOT NULL,
    role TEXT NOT NULL,
    team TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    UNIQUE (subject, role, team)
);
