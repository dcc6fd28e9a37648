"""The commands, one module a group: options in, exit codes out. What they do is elsewhere."""
