"""Objects that came just before a fault and block a workload: what it suffers from, and who can be at it. Pure."""
