"""Files of weights as people handle them: inspected, exported, and those that the authors released."""
