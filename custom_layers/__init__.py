"""What happens to an op that has no lowering."""
