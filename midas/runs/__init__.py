"""What every stage shares: errors for people, whole files or none, seeds, fingerprints, checkpoints, progress."""
