"""The parts of a run: one file each, which measures, prints tables, and gives figures beside bars.

Each has `measure`, which takes the run's `Scale` and gives a `Part`.
"""
