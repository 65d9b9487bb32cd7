"""A prepared dataset to batches, from the device's memory or from the host: the same batches, to
the row.
"""
