"""What models say of images, and how right it is: for validations, evaluations and predictions alike."""
