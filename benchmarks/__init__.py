"""Speed: what a step costs, beside what."""
