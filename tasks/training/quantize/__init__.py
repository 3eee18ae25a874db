"""Makes a network of 8-bit integers of one in float32, without training it again."""
