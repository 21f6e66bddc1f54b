"""Channels followed through a network: which layer writes a channel, which layers read it, which form a group."""

from pruners.channels.records import Channels, Norm, PrunableLayer, Step, UnfollowableError, widen
from pruners.channels.trace import trace_channels

__all__ = ["Channels", "Norm", "PrunableLayer", "Step", "UnfollowableError", "trace_channels", "widen"]
