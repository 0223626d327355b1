"""Pretraining: schedules, checkpoints and the loop."""
