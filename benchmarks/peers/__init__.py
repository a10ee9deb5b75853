"""Peers: one module for each client, which all do the same work.

Each has `LIBRARIES`, the distributions whose versions are printed, and `run`, which does a task and
returns its measurement: bearer auth, GET of a cost analysis, rows decoded to typed values. Peers
run in processes of their own, some of them in another virtual environment, and share
`envelope` and `plans` only.
"""
