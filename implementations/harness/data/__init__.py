"""Texts and token samples for calibration, training and evaluation."""
