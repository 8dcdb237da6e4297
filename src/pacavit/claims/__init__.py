"""The ledger: every published number beside the one that this project measured."""

import logging

# Without triton, which only machines with a GPU need, torch says that its kernels will not be counted.
logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
