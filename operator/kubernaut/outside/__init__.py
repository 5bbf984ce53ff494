"""HTTP to others than the API server, where the settings allow it."""
