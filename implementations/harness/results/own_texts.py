"""Files of the user in place of the texts of a protocol: --calibrate-on and --evaluate-on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from implementations.harness.errors import BadInput
from implementations.harness.results.files import check_printable, short_path, user_path
from implementations.harness.results.protocol import CalibrationText, OwnTexts, Protocol

FORMATS = (".txt", ".jsonl", ".parquet")


def with_own_texts(
    protocol: Protocol, calibrate_on: str | None = None, evaluate_on: Sequence[str] = ()
) -> Protocol:
    """Return the protocol with files as calibration text, as evaluation texts, or as both.

    The number and length of samples and windows stay the same. Every evaluation file is measured
    like the first evaluation of the protocol. A `.txt` file is one document, so its samples are
    drawn as windows under every protocol.

    Raises:
        BadInput: a file is missing or has another format, two evaluation files have the same name,
            or the calibration file is also an evaluation file.
    """
    if calibrate_on is None and not evaluate_on:
        return protocol
    calibration, evaluations = protocol.calibration, protocol.evaluations
    stems = []
    if calibrate_on is not None:
        path = _text_file(calibrate_on, "--calibrate-on")
        calibration = CalibrationText(
            text=str(path),
            samples=calibration.samples,
            length=calibration.length,
            draw="windows" if path.suffix == ".txt" else calibration.draw,
        )
        stems.append(path.stem)
    if evaluate_on:
        paths = [_text_file(name, "--evaluate-on") for name in evaluate_on]
        _check_stems(paths)
        first = evaluations[0]
        evaluations = tuple(first.model_copy(update={"text": str(path)}) for path in paths)
        stems += [path.stem for path in paths]
    for evaluation in evaluations:
        if Path(evaluation.text).resolve() == Path(calibration.text).resolve():
            raise BadInput(
                f"the calibration text {short_path(calibration.text)} and the evaluation text "
                f"{short_path(evaluation.text)} are the same file; use different files"
            )
    measured = ", ".join(evaluation.text for evaluation in evaluations)
    changes = {
        "name": _name([protocol.name[:40], "own", *stems]),
        "about": f"{protocol.name}, calibrated on {calibration.text}, measured on {measured}",
        "calibration": calibration,
        "evaluations": evaluations,
        "own_texts": OwnTexts(
            protocol=protocol.name,
            calibration=calibrate_on is not None,
            evaluations=bool(evaluate_on),
        ),
    }
    return protocol.model_copy(update=changes)


def _text_file(name: str, option: str) -> Path:
    """Return the path of a file that the user gave with `option`; raises `BadInput`."""
    path = user_path(name, option)
    if path.suffix not in FORMATS:
        raise BadInput(
            f"{option}: {short_path(path)} must be a .txt, .jsonl or .parquet file; convert it"
        )
    if not path.is_file():
        raise BadInput(f"{option}: {short_path(path)} is not a file")
    check_printable(str(path), option)
    return path


def _check_stems(paths: Sequence[Path]) -> None:
    """Raise `BadInput` if two files would give their perplexities the same name."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise BadInput(
                f"--evaluate-on: {short_path(other)} and {short_path(path)} have the same name "
                f"{path.stem!r}, which names their perplexity; rename one of them"
            )


def _name(parts: Sequence[str]) -> str:
    """Join the parts to a valid name of a protocol, without the characters it cannot have."""
    words = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    return "-".join(filter(None, words))[:64].strip("-")
