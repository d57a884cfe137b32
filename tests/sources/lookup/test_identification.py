"""Identification of papers."""

from __future__ import annotations

import pytest

from tools.sources.lookup.identification import identify
from tools.sources.names.references import Reference, Unidentified

LLM_PRUNER = "44956951349095f74492a5471128a7e0"
DISP_LLM = "84a7fc24ed52e8eff514c33e8ac76ea3"
DEPGRAPH = "Fang_DepGraph_Towards_Any_Structural_Pruning_CVPR_2023_paper"

ARXIV = {
    "  2301.00774v3.  ": "2301.00774",
    "<https://arxiv.org/abs/2301.00774>": "2301.00774",
    "https://arxiv.org/pdf/2301.00774v3.pdf": "2301.00774",
    "http://www.arxiv.org/html/2301.00774v3": "2301.00774",
    "https://export.arxiv.org/abs/2301.00774?context=cs": "2301.00774",
    "https://ar5iv.labs.arxiv.org/html/2301.00774": "2301.00774",
    "arXiv:2301.00774v3 [cs.LG] 22 Mar 2023": "2301.00774",
    "https://arxiv.org/pdf/cs/0601001v2.pdf": "cs/0601001",
    "arXiv:math.GT/0309136v1": "math/0309136",
    "0704.0001": "0704.0001",
    "https://doi.org/10.48550/ARXIV.2301.00774": "2301.00774",
    "doi:10.48550/arXiv.math.GT/0309136": "math/0309136",
}

OTHERS = {
    "DOI 10.1609/AAAI.v38i10.28960;": ("doi", "10.1609/aaai.v38i10.28960"),
    "http://dx.doi.org/10.1609%2Faaai.v38i10.28960": ("doi", "10.1609/aaai.v38i10.28960"),
    "https://direct.mit.edu/tacl/article/doi/10.1162/tacl_a_00704/125482/A-Survey-on-Model": (
        "doi",
        "10.1162/tacl_a_00704",
    ),
    "https://onlinelibrary.wiley.com/doi/10.1002/(SICI)1097-4571(199806)49:8/full": (
        "doi",
        "10.1002/(sici)1097-4571(199806)49:8",
    ),
    "https://example.org/resolve?target=10.1609%2Faaai.v38i10.28960": (
        "doi",
        "10.1609/aaai.v38i10.28960",
    ),
    "https://openreview.net/forum?noteId=x&id=PxoFut3dWW#discussion": ("openreview", "PxoFut3dWW"),
    "https://openreview.net/pdf?id=0VBkEVLwbz1": ("openreview", "0VBkEVLwbz1"),
    "openreview.net/forum?id=PxoFut3dWW": ("openreview", "PxoFut3dWW"),
    "2024.findings-acl.178": ("anthology", "2024.findings-acl.178"),
    "P19-1001": ("anthology", "P19-1001"),
    "https://aclanthology.org/2024.findings-acl.178.pdf": ("anthology", "2024.findings-acl.178"),
    "https://aclanthology.org/2024.tacl-1.85.bib": ("anthology", "2024.tacl-1.85"),
    "https://www.aclweb.org/anthology/P19-1001": ("anthology", "P19-1001"),
    "https://aclanthology.org/P19-1001v2.pdf": ("anthology", "P19-1001"),
    "https://proceedings.mlr.press/v202/frantar23a.html": ("pmlr", "v202/frantar23a"),
    "http://proceedings.mlr.press/v202/frantar23a/frantar23a.pdf": ("pmlr", "v202/frantar23a"),
    "https://raw.githubusercontent.com/mlresearch/v267/main/assets/guo25a/guo25a.pdf": (
        "pmlr",
        "v267/guo25a",
    ),
    f"http://papers.nips.cc/paper_files/paper/2023/hash/{LLM_PRUNER}-Abstract-Conference.html": (
        "neurips",
        f"2023/hash/{LLM_PRUNER}-Abstract-Conference.html",
    ),
    f"https://proceedings.neurips.cc/paper_files/paper/2024/file/{DISP_LLM}-Paper-Conference.pdf": (
        "neurips",
        f"2024/hash/{DISP_LLM}-Abstract-Conference.html",
    ),
    f"https://proceedings.neurips.cc/paper/2020/file/{DISP_LLM}-Paper.pdf": (
        "neurips",
        f"2020/hash/{DISP_LLM}-Abstract.html",
    ),
    f"https://openaccess.thecvf.com/content/CVPR2023/html/{DEPGRAPH}.html": (
        "cvf",
        f"content/CVPR2023/html/{DEPGRAPH}.html",
    ),
    f"https://openaccess.thecvf.com/content/CVPR2023/papers/{DEPGRAPH}.pdf": (
        "cvf",
        f"content/CVPR2023/html/{DEPGRAPH}.html",
    ),
    "https://openaccess.thecvf.com/content_CVPR_2019/html/He_Filter_CVPR_2019_paper.html": (
        "cvf",
        "content_CVPR_2019/html/He_Filter_CVPR_2019_paper.html",
    ),
    '"A Simple and Effective  Pruning Approach"': (
        "title",
        "A Simple and Effective Pruning Approach",
    ),
    "SparseGPT: Massive Language Models": ("title", "SparseGPT: Massive Language Models"),
}

WAYS_OUT = {
    "https://dl.acm.org/doi/abs/10.5555/3618408.3618822": "not a DOI; paste the paper's arXiv",
    "10.5555/3618408.3618822": "OpenReview or proceedings address instead",
    "https://ieeexplore.ieee.org/document/10889000": r"paste the DOI shown",
    "https://research-explorer.ista.ac.at/record/14458": "contains no identifier; paste",
    "https://openreview.net/pdf/0123456789abcdef.pdf": "paste the address of the forum",
    "https://openreview.net/group?id=ICLR.cc/2024": "paste the address of the forum",
    "https://aclanthology.org/volumes/2024.acl-long/": "contains no identifier",
    "https://github.com/locuslab/wanda": "a repository does not identify",
    "https://arxiv.org/abs/2301.0077": "is one digit too short",
    "2313.00774": "does not identify a paper; paste",
    "SparseGPT": "does not identify a paper; paste",
    "file:///etc/passwd": "not an http or https address",
    "https://[::1": "not an address",
    "a word " * 60: "is too long for a title",
}


@pytest.mark.parametrize(("text", "expected"), ARXIV.items())
def test_identifies_arxiv(text: str, expected: str) -> None:
    assert identify(text) == Reference("arxiv", expected)


@pytest.mark.parametrize(("text", "expected"), OTHERS.items())
def test_identifies_other_schemes_and_titles(text: str, expected: tuple[str, str]) -> None:
    assert identify(text) == Reference(*expected)


@pytest.mark.parametrize(("text", "way_out"), WAYS_OUT.items())
def test_unidentified_text_gets_advice(text: str, way_out: str) -> None:
    with pytest.raises(Unidentified, match=way_out) as caught:
        identify(text)
    assert len(str(caught.value)) < 350
    assert "\n" not in str(caught.value)
