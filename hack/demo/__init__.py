"""The main job, from nothing: faults are made, repaired by Workflows, remembered, and learned from."""
