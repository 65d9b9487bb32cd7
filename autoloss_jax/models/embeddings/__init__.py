"""The embedding table: looking rows up, pooling bags, and the optimizers that move the rows a
batch touches.
"""
