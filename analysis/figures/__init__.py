"""The figures: each draws records and computes nothing new."""
