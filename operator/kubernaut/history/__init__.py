"""Everything that talks to Postgres: schema and migrations, the mirror of finished runs, and reading it back."""
