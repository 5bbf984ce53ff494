"""Feature vectors, patterns and their members."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Vectors of one feature set have one dimension: the generated column and the foreign key see to it.
    op.execute(
        """
        CREATE EXTENSION IF NOT EXISTS vector;

        CREATE TABLE kubernaut.feature_sets (
            key text PRIMARY KEY,
            number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
            dimension integer,
            definition jsonb NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            UNIQUE (key, dimension)
        );

        CREATE TABLE kubernaut.run_features (
            feature_set text NOT NULL,
            run_uid text NOT NULL,
            features vector NOT NULL,
            dimension integer NOT NULL GENERATED ALWAYS AS (vector_dims(features)) STORED,
            PRIMARY KEY (feature_set, run_uid),
            FOREIGN KEY (feature_set, dimension)
                REFERENCES kubernaut.feature_sets (key, dimension) ON DELETE CASCADE
        );

        CREATE TABLE kubernaut.patterns (
            id text PRIMARY KEY,
            version integer NOT NULL,
            name text NOT NULL,
            namespace text NOT NULL,
            feature_set text NOT NULL REFERENCES kubernaut.feature_sets (key),
            centroid vector NOT NULL,
            members integer NOT NULL,
            status jsonb NOT NULL,
            first_seen timestamptz NOT NULL,
            last_seen timestamptz NOT NULL,
            retired_at timestamptz
        );

        CREATE TABLE kubernaut.pattern_members (
            pattern text NOT NULL REFERENCES kubernaut.patterns (id) ON DELETE CASCADE,
            run_uid text NOT NULL,
            membership real NOT NULL,
            PRIMARY KEY (pattern, run_uid)
        );
        CREATE INDEX pattern_members_run ON kubernaut.pattern_members (run_uid);

        CREATE TABLE kubernaut.analysis (
            id integer PRIMARY KEY DEFAULT 1 CHECK (id = 1),
            position bigint NOT NULL
        );
        """
    )


def downgrade() -> None:
    # The extension stays: it may have been there before, and other schemas may use it.
    op.execute(
        """
        DROP TABLE kubernaut.analysis, kubernaut.pattern_members, kubernaut.patterns,
            kubernaut.run_features, kubernaut.feature_sets;
        """
    )
