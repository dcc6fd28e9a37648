"""Where work is really done: in this process, or on Ray host actors. Both give the same bits."""
