"""What a run has shown, for people."""
