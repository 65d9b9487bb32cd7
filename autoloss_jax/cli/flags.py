"""autoloss flags: every config key with its default and meaning, in Markdown, as docs/flags.md has
it.
"""

from autoloss_jax.cli import app
from autoloss_jax.config import Config, settings

HEAD = """\
# Every flag

Each key of a config is a flag, `--config.KEY=VALUE`, and in Python a key of
`Config().replace({"KEY": VALUE})`. A tuple is written `--config.data.context="('platform',)"`.
`docs/guide.md` says which flag answers which question. This page is what `autoloss flags` prints.
"""
COLUMNS = "| flag | default | meaning |\n|---|---|---|\n"


def page() -> str:
    """The page: a table for each section of a config."""
    parts, section = [HEAD], ""
    for name, value, field in settings.keys(Config()):
        if name.partition(".")[0] != section:
            section = name.partition(".")[0]
            about = " ".join((type(getattr(Config(), section)).__doc__ or "").split())
            parts.append(f"\n## {section}\n\n{about}\n\n{COLUMNS}")
        choices = field.metadata["choices"]
        meaning = field.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        default = f"`{_cell(repr(value))}`" if value not in ("", ()) else ""
        parts.append(f"| `{name}` | {default} | {_cell(meaning)} |\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Print the page."""
    app.Parser(__doc__).parse_args()
    print(page(), end="")


if __name__ == "__main__":
    app.run(main)
