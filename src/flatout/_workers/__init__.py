"""The hands: one file per kind of worker, one protocol for all. A worker obeys and reports; it decides nothing."""
