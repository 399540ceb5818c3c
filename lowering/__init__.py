"""Graph → MIL → Core ML. The only room that imports coremltools."""
