"""Trackers of experiments that a run can report to: TensorBoard, MLflow, Weights & Biases."""
