"""Fixtures: a site built from records with invented numbers, and a browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

from implementations.harness.results.protocol import PROTOCOLS, Recovered, Recovery
from implementations.harness.results.record import (
    NO_SPEED_UP,
    Dense,
    Footprint,
    Hardware,
    Peak,
    Rate,
    Record,
    Speed,
)
from implementations.harness.results.store import save_record
from tests.keyed import MODEL, invented
from tests.site.visiting import PATIENCE, SLOWDOWN, OpenRequests, ready
from tests.site.weight import FLAGS, serve
from tools.site.atlas import Atlas, read
from tools.site.pages import make

# The variables that a deployment sets; they override the developer's environment.
ENVIRONMENT = {
    "NO_MKDOCS_2_WARNING": "1",
    "ATLAS_RUNS": "",
    "ATLAS_REPOSITORY": "https://example.org/atlas",
}
GENERATE_WITHOUT_TORCH = (
    "import runpy, sys; sys.modules.update(torch=None, transformers=None); "
    "sys.argv = ['tools.site']; runpy.run_module('tools.site', run_name='__main__')"
)
WIKIPEDIA, C4 = PROTOCOLS["smol"].metrics
WEIGHTS = ("unstructured", "semi-structured")
# Papers that are not implemented here: one with official code, one without any code.
UNWRITTEN, CODELESS = "laco", "foldgpt"
PARAMETERS = 134_515_008
BLOCK_WEIGHTS = 106_168_320
DENSE = {WIKIPEDIA: 20.4861, C4: 24.25}


def sample(method: str, asked: float, ratio: float, **more: Any) -> Record:
    """Make a record of `method` whose perplexities are `ratio` times the dense ones."""
    granularity: tuple[str, ...] = more.pop("granularity", WEIGHTS)
    pattern: str | None = more.pop("pattern", None)
    seed: int = more.pop("seed", 0)
    structured = not set(WEIGHTS) & set(granularity)
    gone = round(asked * BLOCK_WEIGHTS)
    left = PARAMETERS - gone
    label = (pattern or f"{100 * asked:g}").replace(":", "-")
    rate = Rate(dense=40.0, pruned=50.0, ratio=1.25, low=1.21, high=1.31)
    fields: dict[str, Any] = {
        "run": f"20261125T120000Z-{zlib.crc32(f'{method}-{label}-{seed}'.encode()):08x}",
        "name": f"smollm2-135m-{label}-{seed}",
        "command": f"atlas run {method} --sparsity {asked} --seed {seed}",
        "method": method,
        "granularity": granularity,
        "configuration": {"sparsity": asked, "pattern": pattern},
        "requested": asked,
        "achieved": gone / BLOCK_WEIGHTS,
        "seed": seed,
        "model": MODEL.model_copy(update={"parameters": PARAMETERS}),
        "texts": (),
        "disjoint": "no span of the calibration lies in an evaluation window",
        "values": {metric: ratio * value for metric, value in DENSE.items()},
        "dense": Dense(
            run="20261125T110000Z-de05e000",
            values=DENSE,
            footprint=Footprint(
                parameters=PARAMETERS, nonzero=PARAMETERS, bytes=4 * PARAMETERS, macs=PARAMETERS
            ),
        ),
        "footprint": Footprint(
            parameters=left if structured else PARAMETERS,
            nonzero=left,
            bytes=4 * (left if structured else PARAMETERS),
            macs=left if structured else PARAMETERS,
        ),
        "speed": Speed(note="measured", prefill=rate, decode=rate)
        if structured
        else Speed(note=NO_SPEED_UP),
        "labels": ("collapsed",) if ratio > 50 else (),
        "seconds": {"prune": 12.5, "evaluate": 60.0},
        "peak": Peak(start=1_000_000_000, bytes=2_000_000_000, how="resident set"),
        "hardware": Hardware(
            cpu="a test", cores=2, threads=2, memory=8_000_000_000, accelerator=None, system="Linux"
        ),
        "versions": {"torch": "2.13.0"},
    }
    return invented(**(fields | more))


def recovered(record: Record) -> Record:
    """Return the record of the same run with LoRA training that halved the perplexity."""
    course = Recovered(
        recovery=Recovery.by("lora", 102_400),
        steps=100,
        read=102_400,
        epochs=0.37,
        losses=(4.0, 3.5, 3.25),
        before={name: 2 * value for name, value in record.values.items()},
    )
    after = record.model_copy(update={"recovered": course})
    return after.model_copy(update={"key": after.key_with(after.seed)})


def samples() -> list[Record]:
    """Make records of five methods that cover every kind of row."""
    heads, blocks = ("kv-groups", "channels"), ("blocks",)
    return [
        sample("magnitude", 0.5, 9.31),
        sample("magnitude", 0.7, 412.0),
        sample("magnitude", 0.5, 68.2, pattern="2:4"),
        sample("magnitude", 0.5, 21.4, pattern="4:8"),
        *(sample("wanda", 0.5, 1.95 + 0.02 * seed, seed=seed) for seed in range(3)),
        sample("wanda", 0.7, 19.8),
        sample("wanda", 0.5, 4.31, pattern="2:4"),
        sample("wanda", 0.5, 2.83, pattern="4:8"),
        *(sample("sparsegpt", 0.5, 1.81 + 0.02 * seed, seed=seed) for seed in range(3)),
        sample("sparsegpt", 0.7, 6.92),
        sample("sparsegpt", 0.5, 2.77, pattern="2:4"),
        sample("sparsegpt", 0.5, 2.21, pattern="4:8"),
        sample("flap", 0.1, 1.35, granularity=heads),
        sample("flap", 0.2, 1.82, granularity=heads),
        sample("flap", 0.3, 2.65, granularity=heads),
        sample("flap", 0.5, 7.7, granularity=heads),
        sample("shortgpt", 0.1, 1.71, granularity=blocks),
        sample("shortgpt", 0.2, 4.9, granularity=blocks),
        sample("shortgpt", 0.3, 33.3, granularity=blocks),
    ]


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return samples()


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real(repository: Path) -> Atlas:
    """The catalog, the methods and the published records."""
    return read(repository)


@pytest.fixture(scope="session")
def atlas(real: Atlas, records: list[Record]) -> Atlas:
    """The catalog and the methods with the sample records alone."""
    return Atlas(real.papers, real.methods, tuple(records))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder for what one test worker makes for all of them."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


def with_records(atlas: Atlas, found: list[Record]) -> Atlas:
    """Return an atlas with these records alone and the address of a repository."""
    methods = {
        slug: replace(method, records=tuple(one for one in found if one.method == slug))
        for slug, method in atlas.methods.items()
    }
    return replace(atlas, methods=methods, records=tuple(found), repository="https://example.org/a")


def made_once(file: Path, atlas: Atlas) -> dict[str, str]:
    """Return all pages of `atlas`, from `file` if another worker has made them."""
    with FileLock(f"{file}.lock"):
        if not file.exists():
            file.write_text(json.dumps(make(atlas)), encoding="utf-8")
    pages: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return pages


@pytest.fixture(scope="session")
def real_pages(real: Atlas, shared_folder: Path) -> dict[str, str]:
    """All pages of the catalog, the methods and the published records."""
    return made_once(shared_folder / "real-pages.json", real)


@pytest.fixture(scope="session")
def sample_pages(real: Atlas, records: list[Record], shared_folder: Path) -> dict[str, str]:
    """All pages of the catalog, the methods and the sample records, with a repository."""
    atlas = with_records(real, records)
    return made_once(shared_folder / "sample-pages.json", atlas)


@pytest.fixture(scope="session")
def bare_checkout(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources of the site, without the published records."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("catalog", "docs", "implementations", "tools"):
        if (repository / folder).exists():
            shutil.copytree(
                repository / folder,
                copy / folder,
                ignore=shutil.ignore_patterns("records", "__pycache__"),
            )
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CITATION.cff"):
        shutil.copy(repository / name, copy)
    return copy


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write the pages of a checkout, build the site as `make site` does and return its folder."""

    def run(checkout: Path, **environment: str) -> Path:
        site = tmp_path_factory.mktemp("site")
        mkdocs = ("-m", "mkdocs", "build", "--strict", "--site-dir", str(site))
        for program in (("-c", GENERATE_WITHOUT_TORCH), mkdocs):
            done = subprocess.run(
                [sys.executable, *program],
                check=False,
                cwd=checkout,
                env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(checkout)} | environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        return site

    return run


@pytest.fixture(scope="session")
def build_once(build: Callable[..., Path], shared_folder: Path) -> Callable[..., Path]:
    """Build a site once, by its name, for all test workers."""

    def run(name: str, checkout: Path, **environment: str) -> Path:
        site = shared_folder / name
        with FileLock(f"{site}.lock"):
            if not site.exists():
                build(checkout, **environment).rename(site)
        return site

    return run


@pytest.fixture(scope="session")
def runs(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for record in records:
        save_record(record, folder)
    return folder


@pytest.fixture(scope="session")
def site(bare_checkout: Path, runs: Path, build_once: Callable[..., Path]) -> Path:
    """The site of the sample records alone."""
    return build_once("sample-site", bare_checkout, ATLAS_RUNS=str(runs))


@pytest.fixture(scope="session")
def published(repository: Path, build_once: Callable[..., Path]) -> Path:
    """The site of the real catalog and the published records."""
    return build_once("published-site", repository)


# A real Chromium


# Not for the whole session: Playwright runs an event loop in this thread, and other test modules
# may need their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    names = ("chromium-headless-shell", "chromium")  # the first one needs less time
    program = os.environ.get("ATLAS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not program and not os.environ.get("ATLAS_REQUIRE_BROWSER"):
        pytest.skip("Chromium not found: install it or set ATLAS_CHROMIUM to its path")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The address of a local server of the sample site."""

    with serve(site) as home:
        yield home


@pytest.fixture(scope="session")
def served() -> Callable[[Path], Any]:
    """Serve any folder: `with served(folder) as address`."""
    return serve


class Visit:
    """A page in a new browser context; collects errors and blocks requests to other hosts."""

    def __init__(self, context: BrowserContext, home: str) -> None:
        self.home = home
        self._complaints: list[str] = []
        self._weight = 0
        context.set_default_timeout(PATIENCE)
        context.route(lambda address: not address.startswith(home), self._refuse)
        self.page: Page = context.new_page()
        self._open_requests = OpenRequests(self.page)
        self.page.on("console", lambda m: m.type in ("error", "warning") and self._note(m.text))
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("response", self._weigh)
        self.page.on("requestfailed", self._failed)
        if SLOWDOWN > 1:
            session = context.new_cdp_session(self.page)
            session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})

    def open(self, path: str) -> Page:
        """Open a page of the site and wait until its script has applied the address."""
        self.page.goto(self.home + path)
        ready(self.page)
        return self.page

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings until the network is idle."""
        self._open_requests.wait()
        return self._complaints

    @property
    def weight(self) -> int:
        """Bytes of all responses as transferred."""
        self._open_requests.wait()
        return self._weight

    def _failed(self, request: Request) -> None:
        # Requests are aborted when the page is left.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"failed: {request.url}")

    def _weigh(self, response: Response) -> None:
        self._weight += int(response.headers.get("content-length", 0))

    def _note(self, text: str) -> None:
        self._complaints.append(text)

    def _refuse(self, route: Any) -> None:
        self._note(f"left the site: {route.request.url}")
        route.abort()


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Callable[..., Visit]]:
    contexts: list[BrowserContext] = []

    def start(width: int = 1280, scheme: str = "light", home: str = address, **more: Any) -> Visit:
        viewport = {"width": width, "height": 800}
        contexts.append(chromium.new_context(viewport=viewport, color_scheme=scheme, **more))
        return Visit(contexts[-1], home)

    yield start
    for context in contexts:
        context.close()
