"""What a controller learned: curves, pictures, and the searched loss as a file for other
programs.

It reads finished runs (`training`). Nothing here trains.
"""
