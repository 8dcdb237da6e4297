"""Archives in the official layouts, packed from the user's own folders; the same folder gives the same bytes."""
