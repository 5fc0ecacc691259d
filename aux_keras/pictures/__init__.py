"""What a network has learnt, as pictures; they need matplotlib, an extra."""
