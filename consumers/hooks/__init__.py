"""Observers of a worker's events, one adapter a file."""
