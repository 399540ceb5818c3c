"""Order and fusion sensitivity: forms that coremltools or the hardware gets wrong, in an order it gets right."""
