"""Runs as folders: trained, recorded, loaded."""
