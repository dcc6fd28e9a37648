"""What the server does between rounds."""
