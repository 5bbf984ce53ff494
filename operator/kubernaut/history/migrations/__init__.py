"""Alembic's migrations. They are rendered to SQL and run by ``kubernaut.history.schema``, in one transaction."""
