-- Manifest policies by tier, as the platform team changed them; a tier without a row has the built-in rules alone.
CREATE TABLE manifest_policies (
    tier TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    revision BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    updater TEXT NOT NULL
);
