"""Alembic's entry: offline only, since the driver is asyncpg and the SQL is run by ``schema.migrate``."""

from alembic import context

context.configure(
    dialect_name="postgresql",
    dialect_opts={"paramstyle": "named"},  # the default would double each percent sign
    as_sql=True,
    version_table_schema="kubernaut",
    output_buffer=context.config.attributes["buffer"],
)
context.run_migrations()
