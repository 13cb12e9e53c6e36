"""What a run shows of itself. Observers read events; the core imports none of them."""
