"""How a run is watched while it goes."""
