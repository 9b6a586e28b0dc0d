"""Ray Data jobs: an engine answers the rows of a data set on all nodes of a cluster.

    import ray
    import rtai.ray

    texts = ray.data.read_json("texts.jsonl")                 # rows with "text"
    rtai.ray.predict(texts, "model.rtai").write_parquet("answers")

Needs Ray: ``pip install 'rtai[ray]'``, on every node of the cluster.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Engine, Floats, Output

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
    from ray.data import Dataset

__all__ = ["predict"]

_INSTALL = "rtai.ray needs Ray: pip install 'rtai[ray]'"


def predict(dataset: Dataset, engine: str | os.PathLike[str], *, text: str = "text", text_pair: str | None = None,
            prefix: str = "", logits: bool = False, batch_size: int = 256, concurrency: int | tuple[int, int] | None = None,
            threads: int = 1, target: str = "", **remote: Any) -> Dataset:
    """The rows of ``dataset`` with the answers to their texts as columns more; as lazy as the data set.

    ``text``, ``text_pair``: columns of texts; each text is encoded together with its pair, if there are any.
    By the engine's task a row gains, as ``rtai run --json`` says them,

    - sequence classification: ``label``; ``score``, its own; ``scores``, of all classes in the order of ``Engine.labels``;
    - sentence embedding: ``embedding``;
    - else ``logits``, the first output: a list, or, where each token has its own row, a list of these. ``logits=True`` adds it
      to the others too.

    ``prefix`` stands before these names, for data that has a "label" of its own.

    ``batch_size`` texts are answered in a call, which changes speed and memory, not the answers. An actor computes with
    ``threads`` CPUs of its node. There are as many as the cluster has room for; ``concurrency`` sets their number, or the
    least and the most. ``target`` is that of ``Engine``; what else ``Dataset.map_batches`` takes, like ``resources`` or
    ``label_selector``, can be given too.

    The file is read here, once, and reaches the nodes through Ray's object store, in whose shared memory all actors of a node
    use it: nodes need not share a file system. A call whose worker or node dies is made again elsewhere, as often as it takes,
    and only its last answer is seen. The order of rows is Ray's (``DataContext.execution_options.preserve_order``).

    What is made again, and what an actor is given at a time, is a block of the data set. Of a small file Ray makes few, and a
    death costs, and the last actor works alone for, up to a block's time: ask for more, ``read_json(..., override_num_blocks=200)``.
    Blocks of fewer than ``batch_size`` rows are joined. A fixed number of actors that takes all CPUs leaves none to read with, and
    the job waits forever, unless reading asks for none: ``read_json(..., num_cpus=0)``.

    Raises ImportError without Ray; what ``Engine`` raises for a file that cannot be used; ValueError for a number below 1.
    A column that is missing or there already, or a text that is none, ends the job with the message in Ray's UserCodeException.
    """
    try:
        import ray
        from ray.data import ActorPoolStrategy
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    if batch_size < 1 or threads < 1:
        raise ValueError("batch_size and threads: expected at least 1")
    data = np.fromfile(engine, np.uint8)
    Engine(data, threads=1, target=target)  # what is wrong with it is said before the job starts
    least, most = (1, None) if concurrency is None else (concurrency, concurrency) if isinstance(concurrency, int) else concurrency
    return dataset.map_batches(
        _Actor, batch_size=batch_size, batch_format="pyarrow", udf_modifying_row_count=False, num_cpus=threads,
        compute=ActorPoolStrategy(min_size=least, max_size=most),
        fn_constructor_args=(ray.put(data), threads, target, [text] if text_pair is None else [text, text_pair], prefix, logits),
        **remote)


class _Actor:
    """An engine in a worker of Ray."""

    def __init__(self, data: Any, threads: int, target: str, columns: Sequence[str], prefix: str, logits: bool) -> None:
        import ray

        self._engine = Engine(ray.get(data), threads=threads, target=target)
        self._columns = columns
        self._prefix = prefix
        self._logits = logits

    def __call__(self, table: pa.Table) -> pa.Table:
        for column in self._columns:
            if column not in table.column_names:
                raise ValueError(f"no column '{column}', expected one of: {', '.join(table.column_names)}")
        outputs = self._engine.run(*(table[column].to_pylist() for column in self._columns))
        for name, column in self._answers(next(iter(outputs.values()))).items():
            if self._prefix + name in table.column_names:
                raise ValueError(f"there is a column '{self._prefix + name}' already; prefix= gives the answers other names")
            table = table.append_column(self._prefix + name, column)
        return table

    def _answers(self, first: Output) -> dict[str, pa.Array]:
        import pyarrow as pa

        columns: dict[str, pa.Array] = {}
        task = self._engine.facts.get("task")
        if isinstance(first, np.ndarray) and task == "sequence-classification":
            classes, scores = self._engine.classify(first)
            columns = {"label": pa.array([self._engine.label(i) for i in classes.tolist()], pa.string()),
                       "score": pa.array(scores[np.arange(len(classes)), classes]), "scores": _lists(scores)}
        elif isinstance(first, np.ndarray) and task == "sentence-embedding":
            columns = {"embedding": _lists(first)}
        if self._logits or not columns:
            columns["logits"] = _lists(first) if isinstance(first, np.ndarray) else _lists_of_lists(first)
        return columns


def _lists(rows: Floats) -> pa.Array:
    """[rows, columns] as a list of floats each."""
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _lists_of_lists(parts: Sequence[Floats]) -> pa.Array:
    """A [rows, columns] of each text as a list of lists."""
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), _lists(np.concatenate(parts)))
