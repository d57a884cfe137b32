"""Planner: peak memory and time of a pruning run, from a formula that follows the harness.

Every term of the formula is a factor times a product of the letters in `LETTERS`. Which terms a
method has follows from its declared capabilities and from the parts of the harness that its file
imports. The script of the page, `docs/assets/js/planner.js`, evaluates the terms for a request.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, NamedTuple

from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.ranking import CLASSES
from implementations.harness.results.record import Record
from tools.site.answers import BUDGET, Answer, as_number
from tools.site.atlas import Method
from tools.site.formatting import number
from tools.site.method_candidates import PATTERN, Candidate
from tools.site.targets import VERDICTS, result
from tools.site.usage import WEIGHTS

LETTERS = {
    "L": "decoder layers",
    "d": "hidden size",
    "c": "MLP channels",
    "a": "width of the queries (heads × head size)",
    "k": "width of the keys (KV heads × head size)",
    "v": "vocabulary",
    "B": "weights in the linear layers of one decoder layer",
    "e": "weights of embedding and head",
    "W": "bytes of all weights",
    "b": "bytes per weight",
    "s": "share of the weights that remains",
    "n": "calibration samples",
    "q": "calibration samples in one backward walk",
    "t": "tokens per sample",
    "u": "tokens of the evaluation text",
    "m": "samples processed together",
}
SPENT = (*BUDGET, "epochs", "batch")
"""Settings to which the time of a method is proportional."""
REMOVES = {"units": "Whole units", "weights": "Single weights", PATTERN: PATTERN}
"""What to remove, by its name in the address; empty stands for any."""
HOST, DEVICE, MAPPED = "host", "device", "mapped"
"""Places: main memory, the device that computes, and main memory if the weights are there."""
MEASURED = "smol"
"""The protocol of the records that time and settings are taken from."""
RECORDS_RATE = 1e11
"""Floating-point operations per second of the machine of the records: 2 cores of a server CPU take
70 s for one pass of the calibration set (7e12 operations in the linear layers of SmolLM2)."""
BUS = 5e9
"""Bytes per second between main memory and accelerator, from ordinary (pageable) memory."""
CONTEXT = 0.6e9
"""Bytes that CUDA takes before the first tensor."""
WIKITEXT2 = 341_000
"""Tokens of the test split of WikiText-2, which has no fixed number of windows."""
SOLVER = 8
"""How many times faster matrix products in bfloat16 are than float32/64 factorisations."""


class Term(NamedTuple):
    """One term: `factor` times the letters of `product`, bytes of memory or operations."""

    label: str
    place: str
    factor: float
    product: str

    def value(self, letters: Mapping[str, float]) -> float:
        """Evaluate the term."""
        return self.factor * math.prod(letters[letter] for letter in self.product)


@dataclass(frozen=True)
class Shape:
    """The shape of a model."""

    billions: float
    name: str
    layers: float
    hidden: float
    channels: float
    queries: float
    keys: float
    vocabulary: int
    tied: bool = False

    @property
    def letters(self) -> dict[str, float]:
        """The values of the letters that depend on the shape."""
        block = 2 * self.hidden * (self.queries + self.keys) + 3 * self.hidden * self.channels
        return {
            "L": self.layers,
            "d": self.hidden,
            "c": self.channels,
            "a": self.queries,
            "k": self.keys,
            "v": self.vocabulary,
            "B": block,
            "e": self.vocabulary * self.hidden * (1 if self.tied else 2),
        }


SHAPES = (
    Shape(0.135, "SmolLM2-135M", 30, 576, 1536, 576, 192, 49152, tied=True),
    Shape(0.5, "Qwen2.5-0.5B", 24, 896, 4864, 896, 128, 151936, tied=True),
    Shape(1, "Llama-3.2-1B", 16, 2048, 8192, 2048, 512, 128256, tied=True),
    Shape(3, "Llama-3.2-3B", 28, 3072, 8192, 3072, 1024, 128256, tied=True),
    Shape(7, "Llama-2-7B", 32, 4096, 11008, 4096, 4096, 32000),
    Shape(8, "Llama-3.1-8B", 32, 4096, 14336, 4096, 1024, 128256),
    Shape(13, "Llama-2-13B", 40, 5120, 13824, 5120, 5120, 32000),
    Shape(32, "Qwen2.5-32B", 64, 5120, 27648, 5120, 1024, 152064),
    Shape(70, "Llama-3.1-70B", 80, 8192, 28672, 8192, 1024, 128256),
)


CALIBRATION = PROTOCOLS[MEASURED].calibration
BLOCKS = SHAPES[0].letters["L"] * SHAPES[0].letters["B"]
"""Weights in the linear layers of the model of the records."""
ONE_PASS = 2 * BLOCKS * CALIBRATION.samples * CALIBRATION.length / RECORDS_RATE
"""Seconds of one pass of the calibration set on the machine of the records."""
SQUARE = ("Gram", "Covariance", "prune_by_solving")
"""Names that stand for a matrix `[in, in]` for each input of a layer."""
EVALUATED = Term("logits of an evaluation", DEVICE, 2**24, "b")
"""The most logits that an evaluation computes at once (`PIECE` of the harness)."""


def _kept_for_autograd(samples: str) -> list[Term]:
    """Return the activations of one layer for `samples`, the letter of their number ('' for 1)."""
    sizes = {"d": 10, "a": 6, "c": 4}
    return [Term("activations", DEVICE, n, f"{samples}t{width}b") for width, n in sizes.items()]


BACKWARD = [
    Term("inputs of every layer", HOST, 1, "Lqtdb"),
    Term("inputs of every layer", HOST, 2, "qtdb"),
    Term("gradients of one layer", DEVICE, 20, "B"),
    *_kept_for_autograd("m"),
]
"""Memory of the backward walk: inputs of all layers, and one layer with autograd."""
BLOCK_TRAINING = [
    Term("inputs and targets of one layer", HOST, 2, "ntdb"),
    Term("training of one layer", DEVICE, 40, "B"),
    *_kept_for_autograd(""),
]
"""Memory of training inside one layer, one sample at a time.

Each weight has a mask or a copy in fp32, a gradient, a score and a state of the optimiser.
"""
TEXTS = {
    name: (
        protocol.calibration.samples,
        protocol.calibration.length,
        sum((one.windows or WIKITEXT2 // one.length) * one.length for one in protocol.evaluations),
    )
    for name, protocol in PROTOCOLS.items()
    if name in ("paper", MEASURED)
}
"""Calibration samples, tokens per sample and evaluation tokens of a protocol."""


class Placement(NamedTuple):
    """Where the weights are and where they are used, with the options of `atlas run`."""

    options: str
    bytes: int
    """Bytes per weight."""
    about: str
    terms: tuple[Term, ...]
    """Memory that every method needs."""
    whole: bool = True
    """Whether the weights are on the device that computes."""


_WEIGHTS, _CUDA = Term("weights", DEVICE, 1, "W"), Term("CUDA", DEVICE, CONTEXT, "")
_GPU = (
    Placement(
        "--dtype bfloat16 --device cuda",
        2,
        "in bfloat16",
        (_WEIGHTS, _CUDA),
    ),
    Placement(
        "--dtype bfloat16 --device cpu --accelerator cuda",
        2,
        "in bfloat16, layer by layer",
        (
            Term("two decoder layers", DEVICE, 2, "Bb"),
            Term("embedding and head", DEVICE, 1, "eb"),
            _CUDA,
            Term("weights", HOST, 1, "W"),
        ),
        whole=False,
    ),
)
_CPU = (Placement("--dtype bfloat16 --device cpu", 2, "in bfloat16", (_WEIGHTS,)),)


class Device(NamedTuple):
    """A kind of device, with its speed in practice and the placements to try in turn."""

    label: str
    rate: float
    """Operations per second of the linear layers in practice."""
    about: str
    placements: tuple[Placement, ...]
    shared: bool = False
    """Whether the device computes in main memory."""


DEVICES = {
    "consumer": Device(
        "Consumer GPU",
        20e12,
        "20 TFLOP/s, about 28 % of the nominal 71 of an RTX 3090",
        _GPU,
    ),
    "datacenter": Device(
        "Data-center GPU", 100e12, "100 TFLOP/s, a third of the nominal 312 of an A100", _GPU
    ),
    "cpu": Device(
        "CPU", 0.4e12, "0.4 TFLOP/s, 8 cores at the speed measured on 2", _CPU, shared=True
    ),
}


@dataclass(frozen=True)
class Cost:
    """The memory and time of a method as terms."""

    method: Method
    records: tuple[Record, ...]
    """Runs with the same settings, apart from sparsity and seed, that time is taken from."""

    @cached_property
    def imports(self) -> frozenset[str]:
        """The names that the method's file imports."""
        nodes = ast.walk(ast.parse(self.method.source.code))
        imports = (node for node in nodes if isinstance(node, ast.ImportFrom | ast.Import))
        return frozenset(name.name for node in imports for name in node.names)

    @property
    def capabilities(self) -> dict[str, Any]:
        """The capabilities of the method."""
        return self.method.capabilities

    def uses(self, *names: str) -> bool:
        """Return whether the method's file imports one of the names."""
        return not self.imports.isdisjoint(names)

    @property
    def needs(self) -> str:
        """The calibration data of the method."""
        return str(self.capabilities["calibration"])

    @property
    def trains(self) -> str | None:
        """What the method trains: gates, scores, factors or weights."""
        return self.capabilities.get("trains")

    @property
    def units(self) -> bool:
        """Whether the method removes units."""
        return WEIGHTS.isdisjoint(self.capabilities["granularity"])

    @property
    def prompted(self) -> bool:
        """Whether the method selects units for each prompt."""
        return self.uses("PromptMethod")

    @property
    def transposes(self) -> bool:
        """Whether the method drops activations, for which it transposes weights on a CPU."""
        return self.uses("ActivationMethod")

    @property
    def movable(self) -> bool:
        """Whether the weights can be moved to the accelerator layer by layer."""
        return not (self.trains or self.prompted or self.transposes)

    @cached_property
    def defaults(self) -> dict[str, float]:
        """The defaults of the settings that are numbers."""
        parameters = self.method.source.parameters
        values = {one.name: as_number(one.default) for one in parameters}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def samples(self) -> int | None:
        """Number of samples of the runs, if the method sets it instead of the protocol."""
        settings = self.records[0].configuration
        samples = settings.get("samples") or settings.get("probes")
        return samples if isinstance(samples, int) else None

    @property
    def planned_samples(self) -> float | None:
        """`samples` of a run with the defaults."""
        return self.defaults.get("samples") or self.defaults.get("probes") or self.samples

    @property
    def scale(self) -> float:
        """How many times as much a run with the defaults computes as the measured runs."""
        used = self.records[0].configuration
        pairs = [(self.defaults.get(name), used.get(name)) for name in SPENT]
        ratios = [
            default / own for default, own in pairs if default and isinstance(own, int) and own
        ]
        return float(math.prod(ratios))

    def backward(self, samples: float | None) -> float | None:
        """Return the largest number of samples in one backward walk; None for all."""
        chunk = re.search(r"^CHUNK = (\d+)", self.method.source.code, re.MULTILINE)
        return samples or (int(chunk[1]) if chunk else None)

    @cached_property
    def phases(self) -> list[list[Term]]:
        """Memory without the weights in the phases of a run; the peak is that of the largest."""
        phases = [
            [Term("scores", DEVICE, 24, "dc"), *self._forward(), *self._rebuilt()],
        ]
        if self.uses("perplexity", "Candidates"):
            phases.append([*self._forward(), EVALUATED])
        if self.uses("backwalk", "gradient_norms") and self.needs in ("gradient", "training"):
            norms = [Term("norms of all gradients", HOST, 4, "LB")] * self.uses("norms_on_host")
            phases.append([*BACKWARD, *norms])
        if self.uses("gradient_step"):
            phases.append(BLOCK_TRAINING)
        if self.trains:
            phases.append(list(self._training()))
        return phases

    def _forward(self) -> Iterator[Term]:
        """One micro-batch in a decoder layer, and the statistics of its inputs."""
        if self.needs == "none" and not self.prompted:
            return
        yield Term("activations", DEVICE, 8, "mtdb")
        yield Term("activations", DEVICE, 4, "mtcb")
        if self.uses("walk"):
            yield Term("calibration activations", HOST, 1, "ntdb")
        if self.uses("Variables"):  # of SparseLLM: X, Y, Z, S and P in fp32, and half as much again
            yield Term("variables of one MLP", DEVICE, 12, "ntd")
            yield Term("variables of one MLP", DEVICE, 18, "ntc")
        if self.uses(*SQUARE):  # in fp32 for each input, the largest also three times in fp64
            yield Term("Gram matrices", DEVICE, 8, "dd")
            yield Term("Gram matrices", DEVICE, 4, "aa")
            yield Term("Gram matrices", DEVICE, 28, "cc")

    def _rebuilt(self) -> Iterator[Term]:
        """Smaller layers; the file of the dense model stays mapped until the end."""
        if self.prompted:
            yield Term("selected channels", DEVICE, 3, "Ldcbs")
        elif self.transposes:
            # CATS masks `down` itself and no other layer.
            transposed = "Ldcb" if self.uses("MaskedLinear") else "LBb"
            yield Term("transposed weights", MAPPED, 1, transposed)
            if self.uses("rotate_embedding"):
                yield Term("matrices on skip connections", DEVICE, 2, "Lddb")
        elif self.units and "blocks" not in self.capabilities["granularity"]:
            yield Term("smaller layers", MAPPED, 1, "LBbs")
        if "embedding" in self.capabilities.get("changes", ()) and not self.trains:
            # SliceGPT unties the embedding and rotates it in fp64.
            yield Term("smaller layers", MAPPED, 2, "ebs")
            yield Term("rotated embedding", DEVICE, 8, "vds")

    def _training(self) -> Iterator[Term]:
        """The activations and logits of one window, gradients and the optimiser's state."""
        graphs = len(self.capabilities.get("texts", ("training",)))
        gates, teacher = self.uses("gated"), self.uses("distillation_loss")
        yield Term("activations for training", DEVICE, (16 + gates) * graphs, "Ltdb")
        yield Term("activations for training", DEVICE, (4 + gates) * graphs, "Ltcb")
        yield Term("logits", DEVICE, 20 * graphs + 12 * teacher, "tv")
        if self.trains in ("scores", "weights"):
            yield Term("gradients and optimiser", DEVICE, 3, "W")
        if self.uses("copy"):
            yield Term("copy of the model", DEVICE, 1, "W")

    @cached_property
    def seconds(self) -> tuple[float, float]:
        """Measured seconds of pruning: those that grow with the calibration set, and the others."""
        everything = median(record.seconds.get("prune", 0.0) for record in self.records)
        if not (self.samples or self.trains):
            return everything, 0.0
        walks = self.uses("walk") and self.needs == "forward"
        walked = min(everything, ONE_PASS) if walks else 0.0
        return walked, everything - walked

    @property
    def moves(self) -> float:
        """Times that the weights are moved to the accelerator if they are elsewhere.

        Three times for pruning, three times for measuring, and once per step of a search.
        """
        step = ONE_PASS * (self.planned_samples or math.inf) / CALIBRATION.samples
        return _rounded(6 + self.scale * self.seconds[1] / step)

    @property
    def work(self) -> list[Term]:
        """Operations of a run with the defaults: pruning, solvers, and measuring two models."""
        walked, other = (seconds * RECORDS_RATE / BLOCKS for seconds in self.seconds)
        other *= self.scale
        tokens = CALIBRATION.length
        terms = [
            Term("pruning", DEVICE, _rounded(walked / (CALIBRATION.samples * tokens)), "LBnt"),
            Term("pruning", DEVICE, _rounded(other / tokens), "LBt"),
        ]
        if self.needs == "none":
            terms = [Term("pruning", DEVICE, _rounded(walked + other), "LB")]
        if self.uses(*SQUARE):  # a factor, an inverse and the updates: about 4 in^3
            terms.append(Term("solver", DEVICE, 12 * SOLVER, "Lddd"))
            terms.append(Term("solver", DEVICE, 4 * SOLVER, "Lccc"))
        return [*terms, Term("measuring", DEVICE, 4, "LBu"), Term("measuring", DEVICE, 4, "vdu")]


def _rounded(value: float) -> float:
    """Round to four digits: the times are medians of few runs."""
    return float(f"{value:.4g}")


def cost(method: Method, answers: Iterable[Answer]) -> Cost | None:
    """Return the cost of a method; None without records to take the time from.

    The runs are those with the settings of the method's answers; without answers, its defaults. The
    plan itself has the defaults, because other settings were tuned on the model of the records.
    """
    changes = _planned(answers)
    records = tuple(record for record in _measured(method) if record.changes == changes)
    return Cost(method, records) if records and method.source.code else None


def _planned(answers: Iterable[Answer]) -> list[str]:
    """Return the settings that differ from the defaults in the runs: those of the first answer."""
    return next((answer.row.first.changes for answer in answers), [])


def measured_ratio(cost: Cost, record: Record) -> float:
    """Return estimated over measured bytes of pruning, without the weights, for a record."""
    n = record.protocol.calibration.samples
    letters = SHAPES[0].letters | {
        "W": 4 * record.model.parameters,
        "b": 4,
        "s": 1 - record.achieved,
        "n": n,
        "q": min(n, cost.backward(cost.samples) or n),
        "t": record.protocol.calibration.length,
        "m": record.protocol.batch_size,
    }
    peak = max(sum(term.value(letters) for term in phase) for phase in cost.phases)
    return peak / record.peak.above_start


def measured_ratios(cost: Cost) -> list[float]:
    """Return the ratios of all records of a method that measured the peak of pruning."""
    return [measured_ratio(cost, record) for record in _measured(cost.method)]


def _measured(method: Method) -> list[Record]:
    """Return the runs of the protocol's model on the CPU; time and memory on a GPU differ."""
    measured = PROTOCOLS[MEASURED]
    return [
        record
        for record in method.records
        if record.protocol.name == MEASURED
        and (record.model.source, record.model.dtype) == (measured.model, measured.dtype)
        and not record.recovered
        and not record.hardware.accelerator
    ]


def formula(costs: Iterable[Cost]) -> list[tuple[str, str, list[str]]]:
    """List the terms of memory with their sum in letters and the methods that have them."""
    used: dict[tuple[str, str], list[str]] = {}
    for cost in costs:
        for sums in {pair: None for phase in cost.phases for pair in _sums(phase)}:
            used.setdefault(sums, []).append(cost.method.slug)
    return [(label, text, slugs) for (label, text), slugs in sorted(used.items())]


def _sums(terms: Iterable[Term]) -> Iterator[tuple[str, str]]:
    """Yield each label with its sum, such as `8 m t d b + 4 m t c b`."""
    sums: dict[str, list[str]] = {}
    for term in terms:
        factor = [] if term.factor == 1 else [f"{term.factor:g}"]
        powers = [f"{letter}{'²' * (count > 1)}" for letter, count in Counter(term.product).items()]
        sums.setdefault(term.label, []).append(" ".join([*factor, *powers]))
    for label, parts in sums.items():
        yield label, " + ".join(parts)


def losses(candidate: Candidate) -> dict[str, tuple[float, str, bool, int, str]]:
    """Return perplexity over dense, also as text, whether the model collapsed, class and note.

    The keys are percentages removed and the pattern. Losses on texts that a method trained on are
    left out, and those with other settings than the planned ones.
    """
    planned = _planned(candidate.results.values())
    classes = list(CLASSES)
    return {
        share: (
            answer.ratio,
            number(answer.ratio),
            answer.row.collapsed,
            classes.index(answer.kind),
            "; ".join(filter(None, (answer.note, ", ".join(planned)))),
        )
        for share, answer in candidate.results.items()
        if answer.ratio is not None
        and (answer.rank or answer.row.collapsed)
        and (":" not in share or share == PATTERN)
        and answer.row.first.changes == planned
    }


def speeds(candidate: Candidate) -> dict[str, str]:
    """Return the decoding speed over dense, by per cent removed, of the planned settings."""
    planned = _planned(candidate.results.values())
    return {
        share: number(rate.ratio)
        for share, answer in candidate.results.items()
        if answer.row.first.changes == planned and (rate := answer.row.rate("decode"))
    }


def script_data(candidates: Iterable[Candidate]) -> dict[str, Any]:
    """Return the data of the formula and of the implemented methods for the script."""
    return {
        "shapes": [
            {"billions": one.billions, "tables": 1 if one.tied else 2}
            | {letter: one.letters[letter] for letter in "Ldcakv"}
            for one in SHAPES
        ],
        "texts": {name: dict(zip("ntu", sizes, strict=True)) for name, sizes in TEXTS.items()},
        "devices": {
            name: device._asdict() | {"placements": [one._asdict() for one in device.placements]}
            for name, device in DEVICES.items()
        },
        "bus": BUS,
        "protocol": MEASURED,
        "verdicts": VERDICTS,
        "methods": {one.slug: _method_data(one, one.method) for one in candidates if one.method},
    }


def _method_data(candidate: Candidate, method: Method) -> dict[str, Any]:
    """Return the data of one method; without records there is nothing to estimate from."""
    data = {
        "result": result(method, candidate.paper),
        "patterns": PATTERN in method.patterns,
        "losses": losses(candidate),
    }
    if own := cost(method, candidate.results.values()):
        data |= {
            "units": own.units,
            "speeds": speeds(candidate),
            "phases": own.phases,
            "work": own.work,
            "moves": own.moves,
            "movable": own.movable,
            "backward": own.backward(own.planned_samples),
        }
    return data
