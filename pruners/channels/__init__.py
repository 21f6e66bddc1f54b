"""Following channels through a network: which layer writes a channel, which layers read it, which go together."""

from pruners.channels.following import follow
from pruners.channels.records import Channels, Layer, Norm, Step, UnfollowableError, widen

__all__ = ["Channels", "Layer", "Norm", "Step", "UnfollowableError", "follow", "widen"]
