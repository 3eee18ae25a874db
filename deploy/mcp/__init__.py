"""`pixelmill mcp`: a running server's models as tools of the Model Context Protocol."""
