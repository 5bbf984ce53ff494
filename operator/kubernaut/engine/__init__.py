"""The running loop: what wakes a run, what performs its effects, what recovers it."""
