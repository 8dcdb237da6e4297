"""Archives in the official layouts, packed from folders of one's own; the same folder gives the same bytes."""
