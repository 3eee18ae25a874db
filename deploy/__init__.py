"""How Pixelmill is installed, started, kept running and used from a terminal."""
