"""The face: one thin Typer command per stage, the reading of params.yaml, and where things lie."""
