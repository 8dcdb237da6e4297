"""Archives in the official layouts, drawn from scikit-learn's handwritten digits; a seed gives the same bytes."""
