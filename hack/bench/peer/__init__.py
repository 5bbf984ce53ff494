"""What we are compared with: a plain stateful Kopf operator that makes the same changes."""
