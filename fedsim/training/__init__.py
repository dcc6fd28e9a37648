"""What a client computes: local updates and evaluation."""
