"""Labels and definitions of the metrics of claims, such as `ppl/wikitext2/128`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tools.catalog.schema.vocabulary import Term, vocabulary

PARTS = ("datasets", "suites")
"""Fields of the vocabulary that define the second part of a metric."""


@dataclass(frozen=True)
class Metric:
    """A metric with its label and definition."""

    name: str
    label: str
    about: str
    """Definition of the data, or of the quantity if there is no data set."""
    better: str
    """Which values are better: `lower`, `higher`, or empty if not defined."""

    @property
    def title(self) -> str:
        """The label with a capital letter."""
        return self.label[:1].upper() + self.label[1:]

    @property
    def definition(self) -> str:
        """Label, direction and definition in two sentences."""
        better = f"; {self.better} is better" if self.better else ""
        return f"{self.title}{better}. {self.about}".strip()

    @property
    def lower_is_better(self) -> bool:
        """Whether lower values are better."""
        return self.better == "lower"

    @property
    def anchor(self) -> str:
        """The anchor of its definition on the page of claims."""
        return f"metric-{slugified(self.name)}"


@cache
def explained(name: str) -> Metric:
    """Look up a metric: `perplexity on WikiText-2 in windows of 128 tokens`."""
    kind, _, rest = name.partition("/")
    part, _, window = rest.partition("/")
    quantity = vocabulary()["metrics"].terms.get(kind) or Term(kind, kind, "")
    data = next((found for field in PARTS if (found := vocabulary()[field].terms.get(part))), None)
    label = quantity.label
    label += f" on {data.label}" if data else f", {part}" if part else ""
    label += f" in windows of {int(window):,} tokens" if window.isdecimal() else f" {window}"
    about = f"{data.label}: {data.definition}" if data else quantity.definition
    return Metric(name, label.strip(), about, quantity.better or "")


def slugified(text: str) -> str:
    """Write a text for an address: lower case, hyphens between words."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
