"""Data sets: archives in the official layouts, and the prepared form that training reads."""
