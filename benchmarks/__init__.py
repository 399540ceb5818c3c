"""Measurements: models to run on, a sweep over all of them, and timings beside other tools. Not part of the wheel."""
