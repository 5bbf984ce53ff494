"""Faults that actions of the catalogue mend, by family; what holds for all of them is in ``scenario.py``."""
