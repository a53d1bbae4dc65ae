"""Judging: how fast networks are."""
