"""Graph to MIL to Core ML: targets, emitters, packages. The only room that imports coremltools."""
