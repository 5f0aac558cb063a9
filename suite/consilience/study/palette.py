"""How figures look: colours by modality, markers by kind, a layout for light and dark pages alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consilience.cards import MODALITIES, Modality

#: Colours that people of any colour vision tell apart (Okabe and Ito; Wong 2011, doi:10.1038/nmeth.1618).
COLOURS: dict[str, str] = {
    "atoms": "#0072B2",
    "string": "#D55E00",
    "graph": "#009E73",
    "text": "#CC79A7",
    "protein_sequence": "#E69F00",
    "protein_structure": "#56B4E9",
    "baseline": "#808080",
}
#: The same by words, for legends.
MODALITY_TITLES: dict[str, str] = {
    "atoms": "atoms",
    "string": "strings",
    "graph": "2D graphs",
    "text": "text",
    "protein_sequence": "sequences",
    "protein_structure": "protein structures",
    "baseline": "baselines",
}
SYMBOLS: dict[str, str] = {"trained": "circle", "untrained": "x", "baseline": "square"}
#: Text that can be read on white (4.5 to 1) and on near-black; a page that knows its own sets ``font.color``.
NEUTRAL = "#767676"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif"
#: Lines that are there to be looked past.
FAINT = "rgba(128,128,128,0.25)"
#: Values from low to high: even steps of lightness, for any colour vision (Nuñez et al. 2018,
#: doi:10.1371/journal.pone.0199239).
SCALE = "Cividis"
#: An outline by which markers keep their shape where a colour is close to the page's.
OUTLINE: dict[str, Any] = {"width": 0.6, "color": NEUTRAL}


def colour_of(modality: Modality | str) -> str:
    """Colour of a modality; `ValueError` where there is no such modality."""
    return _of(COLOURS, modality, "modality")


def symbol_of(kind: str) -> str:
    """Marker of a kind (``trained``, ``untrained``, ``baseline``); `ValueError` where there is no such kind."""
    return _of(SYMBOLS, kind, "kind")


def _of(values: Mapping[str, str], name: str, argument: str) -> str:
    if name not in values:
        raise ValueError(f"{argument}: expected one of {', '.join(values)}, found {name!r}")
    return values[name]


def layout(title_x: str, title_y: str, **more: Any) -> dict[str, Any]:
    """Return the layout that every figure starts from.

    Nothing is drawn behind the data, and lines are half transparent, so that a figure lies on a light page as on a
    dark one; of colours a page has to set ``font.color`` alone.

    Parameters
    ----------
    title_x, title_y
        Titles of the axes; empty for none.
    **more
        Further fields of plotly's layout; a mapping is merged with what is here, anything else takes its place.

    Returns
    -------
    dict
        What `plotly.graph_objects.Figure.update_layout` takes.
    """
    axis: dict[str, Any] = {
        "gridcolor": FAINT,
        "linecolor": "rgba(128,128,128,0.6)",
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "tickcolor": "rgba(128,128,128,0.6)",
        "automargin": True,
    }
    base: dict[str, Any] = {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": NEUTRAL},
        "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
        "height": 560,
        "xaxis": axis | {"title": {"text": title_x}},
        "yaxis": axis | {"title": {"text": title_y}},
        # Above the data: beside them it takes half of a phone's screen.
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
        },
        # By default as dark as the point, and its text then hard to read.
        "hoverlabel": {
            "bgcolor": "#222222",
            "bordercolor": "#808080",
            "font": {"color": "#ffffff", "size": 13},
            "align": "left",
        },
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "rgba(128,128,128,0.6)", "activecolor": NEUTRAL},
    }
    return _merged(base, more)


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in more.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


assert set(COLOURS) == set(MODALITY_TITLES) == set(MODALITIES)
