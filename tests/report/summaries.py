"""What a run says of a method, made by hand."""

from typing import Any


def method(scale: float = 1.0, wasted: float = 0.1, server: float = 0.0, **quality: float) -> dict[str, Any]:
    """Costs that can be multiplied in the head; quality as in ``finetune__accuracy=0.5``."""
    spent = {
        "upload_bytes": int(40e6 * scale),
        "download_bytes": int(80e6 * scale),
        "flops_forward": int(2e12 * scale),
        "flops_backward": int(4e12 * scale),
        "cut_upload_bytes": int(server * 30e6),
        "cut_download_bytes": int(server * 20e6),
        "server_flops_forward": int(server * 1e12),
        "server_flops_backward": int(server * 2e12),
        "device_seconds": 1000.0 * scale,
    }
    return {
        "quality": {name.replace("__", "/"): value for name, value in quality.items()},
        **spent,
        **{f"wasted_{name}": value * wasted for name, value in spent.items()},
        "energy_j": 5000.0 * scale,
        "simulated_seconds": 300.0 * scale,
        "tokens": int(64_000 * scale),
        "real_tokens": int(48_000 * scale),
        "rounds": 12,
        "clients_trained": 36,
    }
