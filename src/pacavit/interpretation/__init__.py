"""What the clusters of a trained model are: seen on images, and measured against labels."""
