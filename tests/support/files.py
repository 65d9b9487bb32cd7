"""Files that tests write, and what is read of them."""

import polars as pl


def writer(folder, called):
    """Writes bytes or text into a file of the folder, by this name where no other is given."""

    def write(content, name=called):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows(blocks):
    """Rows of blocks as tuples of label and values, words as what they stand for."""
    return [row for block in blocks for row in _meant(block).iter_rows()]


def _meant(block):
    words = {n: of for n, of in block.meanings.items() if block.frame.schema[n] == pl.String}
    return block.frame.with_columns(**words)
