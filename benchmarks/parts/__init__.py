"""Parts of a run of `python -m benchmarks`.

Each module has a function `measure`, which takes the run's `Scale`, prints tables, and returns a
`Part`: figures with bars, data for JSON, and notes.
"""
