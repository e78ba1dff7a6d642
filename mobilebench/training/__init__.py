"""Training: batches, augmentation, schedule, loop, checkpoint. Plain torch: no mlflow, no dvc, no pydantic."""
