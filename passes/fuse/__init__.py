"""Own fusion: what is one op to Core ML becomes one op in the graph, with constants folded in float64."""
