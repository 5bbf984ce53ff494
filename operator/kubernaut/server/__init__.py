"""What the operator serves: metrics and health."""
