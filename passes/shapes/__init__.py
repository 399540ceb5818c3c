"""Passes over the types of values."""
