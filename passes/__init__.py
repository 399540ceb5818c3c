"""The rewrites: one rule or pass a file."""
