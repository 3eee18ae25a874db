"""The commands `pixelmill run` and `pixelmill models`: a client of a running server."""
