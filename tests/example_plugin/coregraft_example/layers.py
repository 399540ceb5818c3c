"""A custom layer: what the op computes, and from that its shapes, its reference and its Swift class."""

from coregraft.custom_layers.registry import register_layer


def register() -> None:
    """Called once, when coregraft first meets an op that it does not know."""
    register_layer(
        "org.example",
        "Squash",
        parameters={"steepness": {"type": float, "default": 1.0}},
        elementwise="x / (1 + abs(steepness * x))",
        swift_class="ExampleSquash",
        owner="coregraft-example",
    )
