"""What figures and predictions share: the style, and marks on images."""
