"""The command `pixelmill run`: a client of a running server."""
