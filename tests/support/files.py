"""Files that tests write, and what is read of them."""


def writer(folder, called):
    """Writes bytes or text into a file of the folder, by this name where no other is given."""

    def write(content, name=called):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows(blocks):
    """Rows of blocks as tuples of label and values, words as what they stand for."""
    return [r for b in blocks for r in b.frame.with_columns(**b.meanings).iter_rows()]
