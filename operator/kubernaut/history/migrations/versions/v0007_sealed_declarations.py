"""Declarations that are known to be good are encrypted: with which key, and named so that the name tells nothing."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # Those that are there are encrypted by the operator, which has the keys, with its next rotation.
    op.execute(
        """
        ALTER TABLE kubernaut.declarations ADD COLUMN key_id text;
        COMMENT ON COLUMN kubernaut.declarations.digest IS
            'HMAC-SHA256 of the content under a key derived from the one of key_id; its SHA-256 where that is null';
        COMMENT ON COLUMN kubernaut.declarations.size IS
            'bytes before compression (zlib) and encryption (AES-256-GCM)';
        COMMENT ON COLUMN kubernaut.declarations.key_id IS
            'beginning of the SHA-256 of the key; null where an earlier version stored the content in the clear';
        CREATE INDEX declarations_keys ON kubernaut.declarations (key_id, digest);
        """
    )


def downgrade() -> None:
    # Nothing before this could read them.
    op.execute(
        """
        DELETE FROM kubernaut.known_good
            WHERE digest IN (SELECT digest FROM kubernaut.declarations WHERE key_id IS NOT NULL);
        DELETE FROM kubernaut.declarations WHERE key_id IS NOT NULL;
        DROP INDEX kubernaut.declarations_keys;
        ALTER TABLE kubernaut.declarations DROP COLUMN key_id;
        COMMENT ON COLUMN kubernaut.declarations.digest IS 'SHA-256 of the content before compression';
        COMMENT ON COLUMN kubernaut.declarations.size IS 'bytes before compression (zlib)';
        """
    )
