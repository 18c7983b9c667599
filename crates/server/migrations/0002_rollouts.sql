-- Plans and what becomes of them. Conventions as in 0001.

-- What is asked for, rehearsed, and then one text that approvers sign.
CREATE TABLE plans (
  id          TEXT   NOT NULL PRIMARY KEY, -- UUIDv7
  title       TEXT   NOT NULL,
  environment TEXT   NOT NULL,
  state       TEXT   NOT NULL, -- rehearsing, blocked, ready, in-force, withdrawn
  asked       TEXT   NOT NULL, -- JSON: what the operator asked for, the seed of its waves
  blocks      TEXT   NOT NULL, -- JSON array: what stands in its way
  left_out    TEXT   NOT NULL, -- JSON array: hosts that were selected and are not in it, by reason
  hosts       BIGINT NOT NULL, -- how many it has
  digest      TEXT   NOT NULL, -- SHA-256 of its bytes, hex; empty before it is made
  body        BLOB,            -- zlib of its canonical bytes
  created_by  TEXT   NOT NULL,
  created_at  BIGINT NOT NULL,
  revision    BIGINT NOT NULL
);
-- "What would this do to you?", asked of one host for each class of a plan.
CREATE TABLE rehearsals (
  id      TEXT   NOT NULL PRIMARY KEY, -- UUIDv7
  plan    TEXT   NOT NULL REFERENCES plans (id),
  class   TEXT   NOT NULL,
  host    TEXT   NOT NULL,
  hosts   BIGINT NOT NULL, -- how many it stands for
  sources TEXT   NOT NULL, -- JSON array
  asked_at  BIGINT NOT NULL,
  answer_at BIGINT,
  answer    TEXT             -- JSON
);
CREATE INDEX rehearsals_plan ON rehearsals (plan);
CREATE INDEX rehearsals_open ON rehearsals (host) WHERE answer_at IS NULL;

-- The TUF repository, as hosts and other clients read it.
CREATE TABLE trust_files (
  name TEXT NOT NULL PRIMARY KEY,
  body BLOB NOT NULL
);
-- New documents on their way to being signed.
CREATE TABLE proposals (
  id         TEXT   NOT NULL PRIMARY KEY, -- UUIDv7
  kind       TEXT   NOT NULL, -- founding, plan, word, withdraw, keys
  object     TEXT   NOT NULL, -- the plan's or the word's id; empty for keys
  title      TEXT   NOT NULL,
  body       BLOB   NOT NULL, -- zlib of the proposal, JSON
  digest     TEXT   NOT NULL, -- SHA-256 of what is to be signed, hex
  differences TEXT  NOT NULL, -- JSON array: what it would change, in words
  asked      TEXT   NOT NULL, -- JSON: what it is to change, so that it can be made again on what stands by then
  state      TEXT   NOT NULL, -- open, published, withdrawn
  why        TEXT   NOT NULL, -- why it was withdrawn, or made again
  signed     TEXT   NOT NULL, -- JSON array: who had signed what when it was published
  acted      BIGINT NOT NULL, -- 1 once its rollout knows that it was published
  created_by TEXT   NOT NULL,
  created_at BIGINT NOT NULL,
  made_at    BIGINT NOT NULL, -- when its documents were made; later than created_at if they were made again
  ended_at   BIGINT,
  revision   BIGINT NOT NULL
);
-- What approvers said about plans under way.
CREATE TABLE words (
  id   TEXT NOT NULL PRIMARY KEY,
  plan TEXT NOT NULL REFERENCES plans (id),
  body BLOB NOT NULL -- its canonical bytes
);
CREATE INDEX proposals_open ON proposals (state, acted);

CREATE TABLE rollouts (
  plan       TEXT   NOT NULL PRIMARY KEY REFERENCES plans (id),
  state      TEXT   NOT NULL, -- JSON
  word       TEXT   NOT NULL, -- draft, signed, armed, wave, paused, halted, rolling-back, … for listing
  active     BIGINT NOT NULL, -- 1 while the sweep has something to do with it
  threshold  BIGINT NOT NULL,
  waves      BIGINT NOT NULL,
  generation BIGINT NOT NULL,
  samples    BIGINT NOT NULL, -- answers about health since the present wave settled
  settled_at BIGINT NOT NULL, -- since when the present wave has settled; 0: it has not
  changed_at BIGINT NOT NULL, -- when its state changed last
  revision   BIGINT NOT NULL
);
-- A wave's books: `grant::Row`, changed by one statement whose WHERE holds the budget.
CREATE TABLE rollout_waves (
  plan         TEXT   NOT NULL REFERENCES rollouts (plan),
  wave         BIGINT NOT NULL,
  epoch        BIGINT NOT NULL,
  door         TEXT   NOT NULL, -- shut, open, back
  hosts        BIGINT NOT NULL,
  inflight     BIGINT NOT NULL CHECK (inflight >= 0),
  inflight_max BIGINT NOT NULL,
  proven       BIGINT NOT NULL,
  skipped      BIGINT NOT NULL,
  failed       BIGINT NOT NULL,
  lost         BIGINT NOT NULL,
  bad_max      BIGINT NOT NULL,
  late         BIGINT NOT NULL,
  PRIMARY KEY (plan, wave),
  CHECK (inflight <= inflight_max)
);
CREATE TABLE rollout_jobs (
  plan       TEXT   NOT NULL REFERENCES rollouts (plan),
  host       TEXT   NOT NULL,
  wave       BIGINT NOT NULL,
  state      TEXT   NOT NULL, -- JSON: `job::State`
  counts     TEXT   NOT NULL, -- queued, preparing, under-change, proven, skipped, failed, lost
  direction  TEXT   NOT NULL, -- forward, back
  fence      BIGINT NOT NULL,
  machine    BIGINT NOT NULL,
  last       TEXT,            -- JSON: the last report that counted
  until_at   BIGINT NOT NULL,
  charged    BIGINT NOT NULL,
  begun      TEXT,            -- JSON: the last clearance
  late       BIGINT NOT NULL,
  returns    BIGINT NOT NULL, -- 1 while a rollback is not done with it
  changed_at BIGINT NOT NULL,
  PRIMARY KEY (plan, host)
) WITHOUT ROWID;
CREATE INDEX rollout_jobs_counts ON rollout_jobs (plan, counts, wave);
-- Not partial: PostgreSQL would read all that are charged wherever it takes them for few.
CREATE INDEX rollout_jobs_charged ON rollout_jobs (host, charged);
-- Every report that came, applied or not: a number comes once.
CREATE TABLE rollout_reports (
  plan    TEXT   NOT NULL,
  host    TEXT   NOT NULL,
  fence   BIGINT NOT NULL,
  seq     BIGINT NOT NULL,
  at      BIGINT NOT NULL,
  report  TEXT   NOT NULL, -- JSON
  outcome TEXT   NOT NULL, -- changed, same, stale
  PRIMARY KEY (plan, host, fence, seq)
) WITHOUT ROWID;
-- Service groups of an environment, and who is away. `away` is changed by one statement whose WHERE holds the bound.
CREATE TABLE services (
  environment  TEXT   NOT NULL,
  name         TEXT   NOT NULL,
  away_max     BIGINT NOT NULL,
  away_already BIGINT NOT NULL, -- for other reasons
  away         BIGINT NOT NULL CHECK (away >= 0),
  PRIMARY KEY (environment, name)
);
CREATE TABLE service_places (
  environment TEXT   NOT NULL,
  service     TEXT   NOT NULL,
  host        TEXT   NOT NULL,
  plan        TEXT   NOT NULL,
  since_at    BIGINT NOT NULL,
  state       TEXT   NOT NULL, -- JSON: `job::State`
  PRIMARY KEY (environment, service, host)
);
-- When hosts under a plan were heard, and whether they were well; written in batches.
CREATE TABLE rollout_health (
  host     TEXT   NOT NULL PRIMARY KEY,
  heard_at BIGINT NOT NULL,
  machine  BIGINT NOT NULL,
  healthy  BIGINT -- 0, 1; NULL: not looked at
);
-- Versions that failed, by the class of host: no plan installs them again without an override.
CREATE TABLE denied (
  package TEXT   NOT NULL,
  version TEXT   NOT NULL,
  class   TEXT   NOT NULL, -- debian:12/amd64
  plan    TEXT   NOT NULL,
  why     TEXT   NOT NULL, -- JSON
  at      BIGINT NOT NULL,
  PRIMARY KEY (package, version, class)
);
-- What monitoring says is wrong. Gates hold while one fires.
CREATE TABLE alerts (
  name     TEXT   NOT NULL PRIMARY KEY,
  since_at BIGINT NOT NULL,
  detail   TEXT   NOT NULL
);
