"""What a controller has learnt: its weights as curves, as pictures, and as a loss to take away."""
