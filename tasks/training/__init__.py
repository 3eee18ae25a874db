"""How weights of our own are made. Nothing that runs jobs imports this."""
