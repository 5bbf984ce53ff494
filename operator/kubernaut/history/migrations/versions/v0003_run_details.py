"""What started a run and what it gave, and how long good runs of a Workflow took."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE kubernaut.runs
            ADD COLUMN trigger_by text NOT NULL DEFAULT '',
            ADD COLUMN trigger_reason text NOT NULL DEFAULT '',
            ADD COLUMN dry_run boolean NOT NULL DEFAULT false,
            ADD COLUMN retry_from text,
            ADD COLUMN parent_uid text,
            ADD COLUMN outputs jsonb NOT NULL DEFAULT '{}',
            ADD COLUMN workflow_revision bigint,
            ADD COLUMN undone text[] NOT NULL DEFAULT '{}',
            ADD COLUMN priority integer NOT NULL DEFAULT 0;
        ALTER TABLE kubernaut.steps
            ADD COLUMN branch text,
            ADD COLUMN items integer;
        COMMENT ON COLUMN kubernaut.runs.workflow_revision IS 'how many times the Workflow had changed by then';

        -- How long is answered from the index alone. A retry takes over what succeeded before, and a dry run does
        -- nothing, so neither says how long a run takes.
        CREATE INDEX runs_durations ON kubernaut.runs (namespace, workflow, created_at)
            INCLUDE (duration_seconds, content_hash)
            WHERE phase = 'Succeeded' AND NOT dry_run AND retry_from IS NULL AND duration_seconds IS NOT NULL;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX kubernaut.runs_durations;
        ALTER TABLE kubernaut.steps DROP COLUMN branch, DROP COLUMN items;
        ALTER TABLE kubernaut.runs
            DROP COLUMN trigger_by, DROP COLUMN trigger_reason, DROP COLUMN dry_run, DROP COLUMN retry_from,
            DROP COLUMN parent_uid, DROP COLUMN outputs, DROP COLUMN workflow_revision, DROP COLUMN undone,
            DROP COLUMN priority;
        """
    )
