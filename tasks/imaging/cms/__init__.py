"""Colour management: what a file says about its colours, ICC profiles, and conversions to sRGB."""
