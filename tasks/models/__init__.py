"""One file per model; the file's name is the model's name."""
