"""What bfloat16, int8 and a second thread give on this machine: passages a second, a query's milliseconds, and what they find.

Figures are processor time, so that a busy machine says the same, and wall time beside it.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from bench.retrieval_sets import ROOT, judged
from knowledge.embedding import Floats, cpu_computes_bfloat16, resolve_model
from knowledge.evaluation import Searched, evaluate

PASSAGES, QUERIES, WARM = 240, 60, 8
KINDS = ("float32", "bfloat16", "int8")

log = Console(stderr=True)


class Model:
    """The embedding model in one precision, as the product calls it."""

    def __init__(self, path: Path, kind: str) -> None:
        dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
        model = SentenceTransformer(str(path), device="cpu", local_files_only=True, model_kwargs={"dtype": dtype})
        if kind == "int8":
            model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
        self._model: Any = model
        self.model_id = self.fingerprint = kind
        self.dimension = int(model.get_embedding_dimension())
        self.prompts: dict[str, str] = {}

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of queries, float32 (n, dimension)."""
        return _unit(self._model.encode_query(list(texts), show_progress_bar=False))

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of passages, float32 (n, dimension), four at a time as the product encodes them."""
        parts = [texts[start : start + 4] for start in range(0, len(texts), 4)]
        return np.concatenate([_unit(self._model.encode_document(list(one), show_progress_bar=False)) for one in parts])


def _unit(vectors: Any) -> Floats:
    array = np.asarray(vectors, np.float32)
    unit: Floats = array / np.linalg.norm(array, axis=1, keepdims=True)
    return unit


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor and of wall time that some work takes."""
    processor, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - wall


def main() -> int:
    """Measure every precision with one thread and with two."""
    path = resolve_model(Path(os.environ.get("SORTIE_HOME") or ROOT / "var")).path
    chinese = judged("zh")
    table = Table(
        "precision", "threads", "passages / CPU s", "passages / s", "query, CPU ms", "query, ms", "nDCG@10 dense, zh"
    )
    for kind in KINDS:
        model = Model(path, kind)
        passages = sorted(Searched(chinese.documents, model).passages, key=len)[:: max(1, 600 // PASSAGES)][:PASSAGES]
        queries = [question.text for question in chinese.questions[:QUERIES]]
        for threads in (1, 2):
            torch.set_num_threads(threads)
            model.encode_documents(passages[:WARM])
            encoding = timed(lambda model=model, passages=passages: model.encode_documents(passages))  # type: ignore[misc]
            asking = timed(lambda model=model, queries=queries: [model.encode_queries([one]) for one in queries])  # type: ignore[misc]
            found = asyncio.run(evaluate(chinese, [model])).ndcg["dense"] if threads == 1 else float("nan")
            table.add_row(
                kind, str(threads), f"{len(passages) / encoding[0]:.0f}", f"{len(passages) / encoding[1]:.0f}",
                f"{1000 * asking[0] / len(queries):.1f}", f"{1000 * asking[1] / len(queries):.1f}", f"{found:.3f}",
            )  # fmt: skip
            log.print(f"{kind}, {threads} threads: done")
    console = Console()
    console.print(f"bfloat16 instructions: {cpu_computes_bfloat16()}; cores: {len(os.sched_getaffinity(0))}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
