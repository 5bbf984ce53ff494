"""Runs and steps by month, diagnostics bundles, and what was seen of ReplicaSets."""

from alembic import op

revision = "0001"
down_revision = None

RUNS = """
CREATE SEQUENCE kubernaut.run_position;

CREATE TABLE kubernaut.runs (
    uid text NOT NULL,
    created_at timestamptz NOT NULL,
    revision bigint NOT NULL,
    position bigint NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    workflow text NOT NULL,
    content_hash text,
    service_account text,
    trigger text NOT NULL,
    phase text NOT NULL,
    verdict text,
    target_kind text,
    target_name text,
    target_uid text,
    started_at timestamptz,
    finished_at timestamptz,
    duration_seconds double precision,
    reason text,
    message text,
    symptoms text[] NOT NULL,
    parameters jsonb NOT NULL,
    PRIMARY KEY (uid, created_at)
) PARTITION BY RANGE (created_at);
COMMENT ON COLUMN kubernaut.runs.created_at IS
    'creationTimestamp of the object: never changes, so it may be part of the key';
COMMENT ON COLUMN kubernaut.runs.revision IS 'resourceVersion: of two records of a run the higher one is kept';
COMMENT ON COLUMN kubernaut.runs.position IS
    'order of arrival; drawn under a lock held until commit, so that none appears below one already visible';
CREATE INDEX runs_newest ON kubernaut.runs (created_at, uid);
CREATE INDEX runs_of_workflow ON kubernaut.runs (namespace, workflow, created_at, uid);
CREATE INDEX runs_arrival ON kubernaut.runs (position);

CREATE TABLE kubernaut.steps (
    run_uid text NOT NULL,
    created_at timestamptz NOT NULL,
    position integer NOT NULL,
    name text NOT NULL,
    action text,
    phase text NOT NULL,
    attempts integer NOT NULL,
    reason text,
    message text,
    started_at timestamptz,
    finished_at timestamptz,
    duration_seconds double precision,
    outputs jsonb NOT NULL,
    changed text[] NOT NULL,
    PRIMARY KEY (run_uid, created_at, position)
) PARTITION BY RANGE (created_at);
COMMENT ON COLUMN kubernaut.steps.created_at IS 'of the run';
"""

# LIKE and ATTACH instead of PARTITION OF: that would lock out readers of the whole table.
MONTHS = """
CREATE FUNCTION kubernaut.ensure_month(wanted date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    year integer := extract(year FROM wanted);
    month integer := extract(month FROM wanted);
    suffix text := format('%s_%s', lpad(year::text, 4, '0'), lpad(month::text, 2, '0'));
    begins timestamptz := make_timestamptz(year, month, 1, 0, 0, 0, 'UTC');
    ends timestamptz := make_timestamptz(year + month / 12, month % 12 + 1, 1, 0, 0, 0, 'UTC');
    parent text;
BEGIN
    -- A query, not to_regclass: that would answer from a cache which may be older than the lock.
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = 'kubernaut'::regnamespace
               AND relname = 'runs_' || suffix) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(7239104582);
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = 'kubernaut'::regnamespace
               AND relname = 'runs_' || suffix) THEN
        RETURN;
    END IF;
    FOREACH parent IN ARRAY ARRAY['runs', 'steps'] LOOP
        EXECUTE format(
            'CREATE TABLE kubernaut.%I (LIKE kubernaut.%I INCLUDING ALL)', parent || '_' || suffix, parent);
        EXECUTE format(
            'ALTER TABLE kubernaut.%I ATTACH PARTITION kubernaut.%I FOR VALUES FROM (%L) TO (%L)',
            parent, parent || '_' || suffix, begins, ends);
    END LOOP;
END
$$;
"""

OTHERS = """
CREATE TABLE kubernaut.bundles (
    run_uid text NOT NULL,
    step text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    size integer NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (run_uid, step)
);
COMMENT ON COLUMN kubernaut.bundles.size IS 'bytes before compression (zlib)';
ALTER TABLE kubernaut.bundles ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE kubernaut.seen_available (
    uid text PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    owner text NOT NULL,
    revision bigint NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL
);
"""


def upgrade() -> None:
    for part in (RUNS, MONTHS, OTHERS):
        op.execute(part)


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE kubernaut.seen_available, kubernaut.bundles, kubernaut.steps, kubernaut.runs;
        DROP FUNCTION kubernaut.ensure_month(date);
        DROP SEQUENCE kubernaut.run_position;
        """
    )
