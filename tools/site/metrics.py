"""What the metrics of claims mean, such as `ppl/wikitext2/128`, in the words of the vocabulary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tools.catalog.schema.vocabulary import Term, vocabulary

PARTS = ("datasets", "suites")
"""Where the second part of a metric may be defined."""


@dataclass(frozen=True)
class Metric:
    """A metric as readers meet it: its name, what to call it, what it means."""

    name: str
    label: str
    about: str
    """The data in a sentence, or the quantity where it is of no data."""
    better: str
    """Which end of its values: `lower`, `higher`, or nothing where nobody said."""

    @property
    def title(self) -> str:
        """The label as a sentence begins."""
        return self.label[:1].upper() + self.label[1:]

    @property
    def definition(self) -> str:
        """All of it in two sentences."""
        better = f"; {self.better} is better" if self.better else ""
        return f"{self.title}{better}. {self.about}".strip()

    @property
    def lower_is_better(self) -> bool:
        """Whether the least value is the best."""
        return self.better == "lower"

    @property
    def anchor(self) -> str:
        """Where its meaning stands on the page of claims."""
        return f"metric-{slugified(self.name)}"


@cache
def explained(name: str) -> Metric:
    """Explain a metric: `perplexity on WikiText-2 in windows of 128 tokens`."""
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
    """Write a text as part of an address: lower case, words parted by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
