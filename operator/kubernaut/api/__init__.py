"""The custom resources as pydantic models, and the constants that everything else shares."""
