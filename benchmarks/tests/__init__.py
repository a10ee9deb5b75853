"""Tests of the harness: `python -m pytest benchmarks/tests`."""
