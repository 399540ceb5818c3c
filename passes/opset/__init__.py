"""Bringing models of any opset to the one that passes see."""
