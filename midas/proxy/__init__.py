"""Comparing cells by short proxy trainings."""
