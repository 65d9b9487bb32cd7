"""The configs that come with the package, by name: those of trainings, and those of studies."""

from pathlib import Path

from autoloss_jax.config.errors import UserError, nearest

_PACKAGE = Path(__file__).parents[1]
# an installed package has them inside, the repository beside it
FOLDER = next(
    (f for f in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if f.is_dir()),
    _PACKAGE / "configs",
)


def trainings() -> dict[str, Path]:
    """Name -> file of the configs that train, as criteo."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.py"))}


def studies() -> dict[str, Path]:
    """Name -> file of the configs of studies, as table2."""
    return {path.stem: path for path in sorted((FOLDER / "studies").glob("*.py"))}


def find(named: str) -> Path:
    """The file that `named` means: one of the user's own, else that of a name, as criteo, table2
    or studies/table2; UserError if it is neither.
    """
    if Path(named).is_file():
        return Path(named)
    known = trainings() | studies()
    if found := known.get(named.removeprefix("studies/")):
        return found
    raise UserError(
        f"--config={named}: no such file, and no config of this name"
        f"{nearest(Path(named).stem, known)} (the names are {', '.join(known)})"
    )
