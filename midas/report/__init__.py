"""Seeing: pictures of what was found and measured."""
