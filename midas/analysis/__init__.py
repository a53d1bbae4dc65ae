"""What a trained search says about the paper's questions, and how good a NAS-Bench-201 cell is."""
