-- Resources beside services. `kind` is the model's class; a deleted one stays as long as it can
-- be described.

CREATE TABLE resource (
  number   INTEGER PRIMARY KEY,
  key      TEXT NOT NULL UNIQUE,
  kind     TEXT NOT NULL,
  document TEXT NOT NULL
);
