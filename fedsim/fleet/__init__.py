"""Devices and networks: the shipped catalogue, and the fleet as columns of numbers."""
