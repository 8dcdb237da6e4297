"""Trained models on the user's own images: a module a task, and what they share."""
