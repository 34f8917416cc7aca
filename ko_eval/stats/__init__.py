"""Estimates with their uncertainty: pure functions on numbers."""
