"""Runs in a browser: a live page over a run's folder, and the same page as one file."""
