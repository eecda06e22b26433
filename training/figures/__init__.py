"""The paper's figures, drawn from a user's own models and results: ``python -m training.figures``."""
