-- The first version of the state. A later version is a script of its own that changes this one;
-- what has been released is never edited.
--
-- `number` keeps the order of arrival. Documents are JSON: their shape is the model's.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE heartbeat (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at REAL NOT NULL
);

CREATE TABLE service (
  number   INTEGER PRIMARY KEY,
  id       TEXT NOT NULL UNIQUE,
  document TEXT NOT NULL
);

CREATE TABLE revision (
  number   INTEGER PRIMARY KEY,
  service  TEXT NOT NULL
           REFERENCES service (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
  id       TEXT NOT NULL,
  document TEXT NOT NULL,
  UNIQUE (service, id)
);

CREATE TABLE operation (
  number   INTEGER PRIMARY KEY,
  service  TEXT NOT NULL
           REFERENCES service (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
  id       TEXT NOT NULL UNIQUE,
  document TEXT NOT NULL
);
CREATE INDEX operation_by_service ON operation (service);

-- The journal: what happened stays true, whatever becomes of the service's row meanwhile.

CREATE TABLE event (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  service TEXT NOT NULL,
  at      REAL NOT NULL,
  text    TEXT NOT NULL
);
CREATE INDEX event_by_service ON event (service);

CREATE TABLE usage_interval (
  number     INTEGER PRIMARY KEY,
  service    TEXT NOT NULL,
  instance   TEXT NOT NULL,  -- '' for a build: NULLs would not be equal to each other
  meter      TEXT NOT NULL,
  started_at REAL NOT NULL,
  ended_at   REAL,
  cpu        INTEGER NOT NULL,
  memory     INTEGER NOT NULL,
  UNIQUE (service, instance, meter, started_at)
);
