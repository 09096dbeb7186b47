-- Codes that carried a sign-in from the platform's own host to another host, once each; kept until they could not be used anyway.
CREATE TABLE sign_in_codes (
    id TEXT NOT NULL PRIMARY KEY,
    expires_us BIGINT NOT NULL
);
CREATE INDEX sign_in_codes_expires ON sign_in_codes (expires_us);
