"""Devices and networks: the shipped catalogue, and the fleet as columns of numbers."""

from fedsim.fleet.devices import Fleet, build, of_class

__all__ = ["Fleet", "build", "of_class"]
