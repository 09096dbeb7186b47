-- A life that is being torn down stands in nobody's way: a reopened pull request begins the next one at once, in a namespace of its own
-- (ENV-6, ENV-27). At most one life per key and label is neither deleted nor ending.
DROP INDEX environments_living_key;
DROP INDEX environments_living_label;
CREATE UNIQUE INDEX environments_living_key ON environments (natural_key)
    WHERE deleted_us = 0 AND state <> 'DELETING' AND state <> 'DELETE_BLOCKED';
CREATE UNIQUE INDEX environments_living_label ON environments (label_id)
    WHERE deleted_us = 0 AND state <> 'DELETING' AND state <> 'DELETE_BLOCKED';
CREATE INDEX environments_key ON environments (natural_key, deleted_us);
