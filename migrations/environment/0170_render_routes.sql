-- Routes that a chart renders and that are not applied, because the built-in proxy answers: it reads hosts and paths from them.
ALTER TABLE renders ADD COLUMN routes TEXT NOT NULL DEFAULT '[]';
