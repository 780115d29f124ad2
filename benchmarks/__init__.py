"""Measurements: each is one command, and each figure stands beside floors and ceilings of the same run."""
