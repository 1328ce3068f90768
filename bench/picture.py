"""Line charts on logarithmic axes, as SVG written by hand."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 340, 64, 200, 44, 48
COLOURS = ("#1f6feb", "#d1742a", "#2a8c5a", "#8a4fb5")
FONT = "font-family='system-ui, sans-serif' font-size='12'"


@dataclass(frozen=True)
class Series:
    """One line: its name and its points, x and y above zero."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One chart of several lines."""

    title: str
    series: Sequence[Series]


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis from one power of ten to another, on so many pixels."""

    low: int
    high: int
    begin: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], begin: float, end: float) -> "_Scale":
        low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
        return cls(low, max(high, low + 1), begin, end)

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def draw(panels: Sequence[Panel], x_title: str) -> str:
    """The panels one below the other, readable on light and dark pages."""
    height = HEIGHT * len(panels)
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH + RIGHT} {height}' width='{WIDTH + RIGHT}' height='{height}'>"
    lines = [head, f"<rect width='{WIDTH + RIGHT}' height='{height}' fill='#ffffff'/>"]
    for number, panel in enumerate(panels):
        lines += [
            f"<g transform='translate(0 {number * HEIGHT})' {FONT} fill='#24292f'>",
            *_panel(panel, x_title),
            "</g>",
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(panel: Panel, x_title: str) -> Iterator[str]:
    every = [point for series in panel.series for point in series.points]
    x = _Scale.over([point[0] for point in every], LEFT, WIDTH)
    y = _Scale.over([point[1] for point in every], HEIGHT - BOTTOM, TOP)
    yield f"<text x='{LEFT}' y='22' font-weight='600'>{escape(panel.title)}</text>"
    yield from _axes(x, y)
    yield f"<text x='{(LEFT + WIDTH) / 2}' y='{HEIGHT - 8}' text-anchor='middle'>{escape(x_title)}</text>"
    for series, colour in zip(panel.series, COLOURS, strict=False):
        yield from _line(series, colour, x, y)


def _axes(x: _Scale, y: _Scale) -> Iterator[str]:
    for value in x.ticks():
        place = x.at(value)
        yield f"<line x1='{place}' x2='{place}' y1='{TOP}' y2='{HEIGHT - BOTTOM}' stroke='#e6e8eb'/>"
        yield f"<text x='{place}' y='{HEIGHT - BOTTOM + 16}' text-anchor='middle'>{value:,.0f}</text>"
    for value in y.ticks():
        place = y.at(value)
        yield f"<line x1='{LEFT}' x2='{WIDTH}' y1='{place}' y2='{place}' stroke='#e6e8eb'/>"
        yield f"<text x='{LEFT - 8}' y='{place + 4}' text-anchor='end'>{value:,.10g}</text>"


def _line(series: Series, colour: str, x: _Scale, y: _Scale) -> Iterator[str]:
    places = [(x.at(one), y.at(other)) for one, other in series.points]
    path = " ".join(f"{one},{other}" for one, other in places)
    yield f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>"
    yield from (f"<circle cx='{one}' cy='{other}' r='3' fill='{colour}'/>" for one, other in places)
    yield f"<text x='{places[-1][0] + 8}' y='{places[-1][1] + 4}' fill='{colour}'>{escape(series.name)}</text>"
