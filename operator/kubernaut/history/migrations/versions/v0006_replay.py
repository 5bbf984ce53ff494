"""What a replay of past runs needs: the content of their Workflow, and what the columns leave out of a run."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE kubernaut.contents (
            digest text PRIMARY KEY,
            spec jsonb NOT NULL
        );
        COMMENT ON COLUMN kubernaut.contents.digest IS
            'SHA-256 of the content as it was; of a spec in which a secret was hidden it is another one';
        ALTER TABLE kubernaut.runs ADD COLUMN facts jsonb;
        COMMENT ON COLUMN kubernaut.runs.facts IS
            'answers, interventions and times that a replay needs; null where an earlier version stored the run';
        -- A replay reads the runs of a Workflow in the order in which they began.
        CREATE INDEX runs_begun ON kubernaut.runs (namespace, workflow, started_at, uid)
            WHERE started_at IS NOT NULL;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX kubernaut.runs_begun;
        ALTER TABLE kubernaut.runs DROP COLUMN facts;
        DROP TABLE kubernaut.contents;
        """
    )
