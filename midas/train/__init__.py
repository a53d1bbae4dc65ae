"""Training a found network: recipe, loop, what is kept of it."""
