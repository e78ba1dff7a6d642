"""The version of the numbers, in a file of its own so that the loop and the package can both read it."""

# Raise it whenever a change moves a loss curve (tests/training/test_loop.py says when).
VERSION = 1
