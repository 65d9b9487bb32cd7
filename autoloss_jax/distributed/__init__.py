"""One run on several devices and in several processes: the mesh, who writes files, who speaks."""
