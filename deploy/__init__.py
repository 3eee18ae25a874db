"""How Pixelmill is run."""
