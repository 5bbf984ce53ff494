"""Diagnostics bundles are encrypted: with which key, and as of when they were taken."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # What may be there was stored by hand and is not encrypted: no version wrote any.
    op.execute(
        """
        DELETE FROM kubernaut.bundles;
        ALTER TABLE kubernaut.bundles
            ADD COLUMN taken_at timestamptz NOT NULL,
            ADD COLUMN key_id text NOT NULL;
        COMMENT ON COLUMN kubernaut.bundles.size IS 'bytes before compression (zlib) and encryption (AES-256-GCM)';
        COMMENT ON COLUMN kubernaut.bundles.key_id IS 'beginning of the SHA-256 of the key';
        CREATE INDEX bundles_keys ON kubernaut.bundles (key_id, run_uid, step);
        """
    )


def downgrade() -> None:
    # Nothing before this could read them.
    op.execute(
        """
        DELETE FROM kubernaut.bundles;
        DROP INDEX kubernaut.bundles_keys;
        ALTER TABLE kubernaut.bundles DROP COLUMN taken_at, DROP COLUMN key_id;
        COMMENT ON COLUMN kubernaut.bundles.size IS 'bytes before compression (zlib)';
        """
    )
