"""Calibration motions: targets that tell constants apart, kept clear of the body, and driving them."""
