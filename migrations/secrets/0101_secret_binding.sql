-- Bindings: which keys the environments of a service in a tier get, as one Kubernetes Secret each.
CREATE TABLE secret_binding (
    uid TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    segment TEXT NOT NULL REFERENCES service (segment),
    tier TEXT NOT NULL,
    environment_uid TEXT NOT NULL,
    binding_id TEXT NOT NULL,
    items TEXT NOT NULL,
    generation BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    updater TEXT NOT NULL
);
CREATE INDEX secret_binding_segment ON secret_binding (segment, tier);
