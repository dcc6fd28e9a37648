"""Recordings of real devices and networks, in the formats in which others published them."""
