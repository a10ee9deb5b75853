"""Plots of curves as PNG files, both axes logarithmic, by matplotlib where it is installed."""

from pathlib import Path
from typing import Any


def plot(path: Path, label: str, curves: dict[str, Any]) -> list[str]:
    """Plot curves one above the other, over the same axis.

    Returns:
        A note if nothing was plotted, and else none.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415  of an extra, which the figures do not need
    except ImportError:
        return [f"{path.name} needs matplotlib: pip install '.[benchmarks]'"]
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  after the backend without a screen is selected

    figure, panels = plt.subplots(
        len(curves),
        sharex=True,
        squeeze=False,
        figsize=(7, 2.6 * len(curves)),
        layout="constrained",
    )
    for panel, (name, curve) in zip(panels[:, 0], curves.items(), strict=True):
        xs, ys = zip(*curve["points"], strict=True)
        panel.loglog(xs, ys, marker="o")
        panel.set_ylabel(name)
        panel.grid(visible=True, which="both", alpha=0.3)
        exponents = f"exponent {curve['exponent']:.2f}, {curve['exponent_at_end']:.2f} at the end"
        panel.set_title(exponents, fontsize="medium", loc="right")
    panels[-1, 0].set_xlabel(label)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return []
