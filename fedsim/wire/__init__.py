"""What crosses the network, byte for byte."""

from fedsim.wire.codec import PLAIN, Codec, Wire

__all__ = ["PLAIN", "Codec", "Wire"]
