"""Asking a trained search: the paper's questions in numbers, and its weights patch by patch and sample by sample."""
