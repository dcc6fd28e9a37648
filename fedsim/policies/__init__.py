"""When the server takes in updates: in rounds, in rounds of clients of like speed, or whenever enough are back."""

from fedsim.policies.base import Play, Policy
from fedsim.policies.choose import choose

__all__ = ["Play", "Policy", "choose"]
