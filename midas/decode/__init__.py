"""Reading a trained supernet: from its weights to one cell."""
