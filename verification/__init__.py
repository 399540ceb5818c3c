"""Proof: reference runs, comparison, drift per layer, and reducing a failure."""
