"""From a device that is there to a class of devices: measured speeds and memory, with where they come from."""
