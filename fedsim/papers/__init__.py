"""Headline figures of published papers beside those of this simulator's own accounts; one file a paper."""
