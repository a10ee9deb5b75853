"""Simulated limits, latency and faults of the emulated server."""
