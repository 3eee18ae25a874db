"""Training of the lung network: data, augmentation, fit, figures, command line."""
