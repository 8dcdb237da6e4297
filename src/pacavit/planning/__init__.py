"""What a target costs, before anything is spent, and whether this machine is ready for it."""
