"""Training of the face-mask classifier: data, augmentation, fit, calibration, command line."""
