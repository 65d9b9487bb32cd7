"""What to pick instead where train's labels are wrong, and the trusted rows are few: methods of a
study, as it spells them.
"""

CLEAN = "ce data.missing=0.0 data.flipped=0.0"  # the ceiling
GAP = ("ce", CLEAN)
LAYER = "noise_layer optimizer.controller_learning_rate=0.02"


def label_noise(kind: str) -> tuple[str, ...]:
    """Of labels that are "missing" or "flipped", more in some contexts than in others."""
    return (*one_rate(kind), f"corrected data.context=[]{_noise(kind)}")


def one_rate(kind: str) -> tuple[str, ...]:
    """Of labels that are "missing" or "flipped", as many everywhere."""
    return (
        "ce data.trusted_repeats=0",  # on train alone
        "ce data.train_share=0.0 data.trusted_repeats=35",  # on the trusted rows alone
        "ce",  # on both, and with the trusted rows more than once
        "ce data.trusted_repeats=5",
        "ce data.trusted_repeats=20",
        f"corrected{_noise(kind)}",
        "glc",
        f"{LAYER}{_noise(kind)}",
        "al1",
        "bohb",
        # Meta-Weight-Net (Shu et al., NeurIPS 2019): a weight for each example
        'al2 data.context=[] method.pool=["ce","asymmetric_ce(positive=0.0,negative=0.0)"]',
    )


def oracles(kind: str) -> tuple[str, ...]:
    """What nobody has: the true rates, and clean labels."""
    return (f"corrected method.rates=known{_noise(kind)}", CLEAN)


def ours(kind: str) -> tuple[str, ...]:
    """Rates that a first model tells, too; the same as a layer's start; and as a search's."""
    pool = f'method.pool=["{kind}_ce(rate=searched)","ce"] method.start=0.9'
    return (
        f"corrected method.rates=model{_noise(kind)}",
        f"{LAYER} method.rates=model{_noise(kind)}",
        f"retrain method.rates=model {pool}",
    )


def _noise(kind: str) -> str:
    return "" if kind == "missing" else f" method.noise={kind}"
