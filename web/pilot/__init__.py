"""The pilot: numbers of each model -> rules -> actions, each with its reasons in a log."""
