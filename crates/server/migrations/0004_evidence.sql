-- What hosts saw of jobs that are over: their own words, kept to be shown.
CREATE TABLE evidence (
  host  TEXT   NOT NULL,
  plan  TEXT   NOT NULL,
  fence BIGINT NOT NULL,
  at    BIGINT NOT NULL, -- when it came
  seen  BLOB   NOT NULL, -- JSON, zlib
  PRIMARY KEY (host, plan, fence)
);
CREATE INDEX evidence_newest ON evidence (host, at);
