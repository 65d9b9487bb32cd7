"""python -m autoloss_jax.config.reference > docs/flags.md: every config key, as a page."""

from autoloss_jax.config import Config, settings

HEAD = """\
# Every flag

Each key of a config is a flag, `--config.KEY=VALUE`, and an argument in Python,
`Config().replace({"KEY": VALUE})`. A tuple is written `--config.data.context="('platform',)"` or
`--config.data.context=platform`. This page is made by `python -m autoloss_jax.config.reference`.
`docs/guide.md` says which flag answers which question.
"""
COLUMNS = "| flag | default | meaning |\n|---|---|---|\n"


def page() -> str:
    """The page, in Markdown: a table for each section of a config."""
    parts, section = [HEAD], ""
    for name, value, field in settings.keys(Config()):
        if name.partition(".")[0] != section:
            section = name.partition(".")[0]
            about = " ".join((type(getattr(Config(), section)).__doc__ or "").split())
            parts.append(
                f"\n## {section}\n\n{about}\n\n| flag | default | meaning |\n|---|---|---|\n"
            )
        choices = field.metadata["choices"]
        meaning = field.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        default = f"`{_cell(repr(value))}`" if value not in ("", ()) else ""
        parts.append(f"| `{name}` | {default} | {_cell(meaning)} |\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
