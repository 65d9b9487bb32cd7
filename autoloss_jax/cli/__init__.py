"""The programs of the command line, and what they share (`app`). Nothing else may import it."""
