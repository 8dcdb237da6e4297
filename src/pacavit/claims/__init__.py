"""The ledger: every published number beside the one that this project measured."""
