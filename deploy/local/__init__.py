"""`pixelmill up`: a whole installation on one machine."""
