"""Lift of ``neuralnetwork`` models: every layer becomes the MIL op that means the same, which is lifted as any other.

coremltools writes such models by mapping MIL ops to layers; here the map is read backwards. All values are floats, a
blob may be written twice, and the layers that speak of channels, height and width mean the third, second and last axis
from the end.
"""

from coregraft.lowering.lift.nn.model import NETWORKS, lift_network

__all__ = ["NETWORKS", "lift_network"]
