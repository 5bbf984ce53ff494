"""What objects are like while they are well: declarations, each stored once, and which object was well with which."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE kubernaut.declarations (
            digest text PRIMARY KEY,
            size integer NOT NULL,
            content bytea NOT NULL
        );
        COMMENT ON COLUMN kubernaut.declarations.digest IS 'SHA-256 of the content before compression';
        COMMENT ON COLUMN kubernaut.declarations.size IS 'bytes before compression (zlib)';
        ALTER TABLE kubernaut.declarations ALTER COLUMN content SET STORAGE EXTERNAL;

        CREATE TABLE kubernaut.known_good (
            uid text NOT NULL,
            digest text NOT NULL REFERENCES kubernaut.declarations (digest),
            namespace text NOT NULL,
            kind text NOT NULL,
            name text NOT NULL,
            first_seen timestamptz NOT NULL,
            last_seen timestamptz NOT NULL,
            PRIMARY KEY (uid, digest)
        );
        -- Which declarations nothing is known to be good with any more.
        CREATE INDEX known_good_digest ON kubernaut.known_good (digest);
        CREATE INDEX known_good_last_seen ON kubernaut.known_good (last_seen);
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE kubernaut.known_good, kubernaut.declarations;")
