"""What a method adds to local training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Plain local training, and what a method changes in it."""

    proximal: float = 0.0
    """FedProx's mu: (mu / 2) * |w - w_received|^2 over the trained parts is added to the loss (Li et al. 2020)."""

    @property
    def kept_vectors(self) -> int:
        """Vectors, each as long as everything trained, that a device holds besides weights, gradients and optimizer."""
        return int(self.proximal > 0)
