"""A VTEX seller, simulated: the counterpart in development, tests and benchmarks.

Transcribed from VTEX's pages a second time and importing nothing else of this package, so that a misreading of the
service's is met here and not shared.
"""
