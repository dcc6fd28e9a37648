"""The scenario: a frozen, validated description of one world and of the methods compared in it."""

from fedsim.scenario.identity import difference, fingerprint
from fedsim.scenario.load import Loaded, load
from fedsim.scenario.schema import Scenario
from fedsim.scenario.shelf import find, folders, listing, shipped

__all__ = ["Loaded", "Scenario", "difference", "find", "fingerprint", "folders", "listing", "load", "shipped"]
