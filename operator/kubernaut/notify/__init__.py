"""Telling people, outside of the cluster, that a run waits for one of them."""
