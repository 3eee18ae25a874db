"""`pixelmill pilot`: what the pilot sees and does, by hand and in a simulation."""
