"""Custom resources for tests: one full example of each kind, random valid ones, and systematic mutants."""
