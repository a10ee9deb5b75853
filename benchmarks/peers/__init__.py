"""The peers: one file each, which does the same job as the others in its own way.

Each has `STANDS_ON`, the distributions whose versions matter, and `run`, which does a task and
tells what it took: bearer auth, GET of a cost analysis, rows decoded to typed values. They run in
processes of their own, some of them in another environment than this project's; of each other they
use nothing.
"""
