"""Pure functions on images: guard, codec, geometry, alpha."""
