"""Clean-up: passes that make a graph smaller and plainer without changing one bit of its results."""
