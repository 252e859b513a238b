"""What a model can be trained for: one module an objective, and what they share."""
