"""A plot of a few curves as a PNG, both axes logarithmic (by matplotlib, where it is installed)."""

from pathlib import Path
from typing import Any


def plot(path: Path, label: str, curves: dict[str, Any]) -> list[str]:
    """Draw curves, one above the other over the same axis.

    Returns:
        Why it was not drawn, if it was not.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415  of an extra: the figures do without it
    except ImportError:
        return [f"{path.name} was not drawn, as matplotlib is not installed"]
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  after it knows that there is no screen

    figure, rooms = plt.subplots(
        len(curves),
        sharex=True,
        squeeze=False,
        figsize=(7, 2.6 * len(curves)),
        layout="constrained",
    )
    for room, (name, curve) in zip(rooms[:, 0], curves.items(), strict=True):
        xs, ys = zip(*curve["points"], strict=True)
        room.loglog(xs, ys, marker="o")
        room.set_ylabel(name)
        room.grid(visible=True, which="both", alpha=0.3)
        exponents = f"exponent {curve['exponent']:.2f}, {curve['exponent_at_end']:.2f} at the end"
        room.set_title(exponents, fontsize="medium", loc="right")
    rooms[-1, 0].set_xlabel(label)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return []
