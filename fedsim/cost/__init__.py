"""What a plan costs, known before it runs: parameters, bytes, FLOPs and memory."""
