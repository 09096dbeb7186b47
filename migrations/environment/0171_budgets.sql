-- What each environment counts in the budget of its team, written with every change of its row (ENV-12).
ALTER TABLE environments ADD COLUMN budget_previews BIGINT NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN budget_cpu BIGINT NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN budget_memory BIGINT NOT NULL DEFAULT 0;
-- Since when it waits for room, 0 if it does not, and what it will count more once it is served.
ALTER TABLE environments ADD COLUMN budget_waits_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN budget_add_previews BIGINT NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN budget_add_cpu BIGINT NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN budget_add_memory BIGINT NOT NULL DEFAULT 0;
CREATE INDEX environments_owner ON environments (owner, deleted_us);

-- Numbers of teams that differ from the platform's; a team without a row has those.
CREATE TABLE budgets (
    team TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    revision BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    updater TEXT NOT NULL
);

-- One row per team: whoever lets something in holds it until the commit, so that two never let in what only one has room for.
CREATE TABLE budget_turns (
    team TEXT NOT NULL PRIMARY KEY,
    turn BIGINT NOT NULL
);
