"""What a run learned, and how good it is: the figures and the page of its report, curves and
pictures of its loss, and the searched loss as a file for other programs.

It reads finished runs (`training`). Nothing here trains.
"""
