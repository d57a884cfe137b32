"""Run GGUF files in llama.cpp on the CPU: `python llama_cpp.py FILE ROUTE` with a body on stdin.

Each request has a process of its own, because llama.cpp aborts the process on a damaged file, and
because the destructor of its server can block.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

SECONDS = 300


def generate(path: Path, ids: list[int], tokens: int) -> tuple[list[int], list[float]]:
    """Continue token ids greedily; return the new ids and their log probabilities."""
    answer = request(
        path,
        "completion",
        prompt=ids,
        n_predict=tokens,
        temperature=0,
        ignore_eos=True,
        return_tokens=True,
        n_probs=1,
    )
    return answer["tokens"], [token["logprob"] for token in answer["completion_probabilities"]]


def tokenize(path: Path, text: str) -> list[int]:
    """Return the token ids of a text, with BOS if the tokenizer adds it."""
    ids: list[int] = request(path, "tokenize", content=text, add_special=True)["tokens"]
    return ids


def request(path: Path, route: str, **body: Any) -> Any:
    """Load a file in a new process and return the answer of the server."""
    done = subprocess.run(
        [sys.executable, __file__, path, route],
        input=json.dumps(body),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def main(path: str, route: str) -> None:
    """Answer one request."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 512
    params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = params.fit_params = False
    server = xllamacpp.Server(params)
    headers = {"Content-Type": "application/json"}
    address = f"{server.listening_address}/{route}"
    with urlopen(Request(address, sys.stdin.buffer.read(), headers), timeout=SECONDS) as response:
        sys.stdout.write(response.read().decode())
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
