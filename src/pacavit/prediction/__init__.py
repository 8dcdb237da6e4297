"""Trained models on images of one's own: a module a task, and what they share."""
