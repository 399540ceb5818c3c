"""Half precision decided in the graph: which value is computed in what, and what does not survive it."""
