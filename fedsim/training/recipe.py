"""What a method adds to local training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Plain local training, and what a method changes in it."""

    proximal: float = 0.0
    """FedProx's mu: (mu / 2) * |w - w_received|^2 over the trained parts is added to the loss (Li et al. 2020)."""
    control: bool = False
    """SCAFFOLD's control variates: each gradient is corrected by what the client's differs by from the server's."""

    products: bool = False
    """The server averages what factors beside a matrix amount to (B A), and not the factors themselves."""

    @property
    def kept_vectors(self) -> int:
        """Vectors, each as long as everything trained, that a device holds besides weights, gradients and optimizer."""
        return int(self.proximal > 0) + int(self.control)

    @property
    def payloads(self) -> int:
        """Vectors that are sent each way for each trained group: its weights, and its control variate."""
        return 1 + int(self.control)
