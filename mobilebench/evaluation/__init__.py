"""What is predicted, what is kept of it and how it is judged: targets, predictions, metrics, the choice of an epoch."""
