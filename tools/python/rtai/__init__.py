"""rtai: BERT-class models that answer in milliseconds.

    engine = rtai.Engine("model.rtai")
    logits = engine(["play some jazz", "what is the weather"])   # NumPy, [2, classes]

Engines are written by the command line tool: ``rtai compile``, ``quantize``, ``prune``.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Union

import numpy as np
import numpy.typing as npt

from . import _rtai
from ._rtai import Error, __version__

__all__ = ["Engine", "Error", "Output", "__version__"]

Floats = npt.NDArray[np.float32]
#: Of all sequences: [sequences, columns], or, where each token has its own row, a [tokens, columns] of each sequence.
Output = Union[Floats, "list[Floats]"]
#: An engine file in memory.
Bytes = Union[bytes, memoryview, npt.NDArray[np.uint8]]


def _bytes(texts: Sequence[str]) -> list[bytes]:
    """UTF-8. What is wrong with a text is said without the text: exceptions end in logs."""
    if isinstance(texts, (str, bytes)):
        raise TypeError("expected a sequence of texts, found one text")
    encoded = []
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {i}: expected str, found {type(text).__name__}")
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError as error:
            raise ValueError(f"text {i}: not Unicode at character {error.start}") from None
    return encoded


class Engine:
    """An engine file and a session on this machine's CPU.

    Calls from several threads wait for each other, without holding Python's lock; who wants answers side by side opens
    the file several times (its weights are in memory once) and gives each engine a share of the threads.
    """

    def __init__(self, path: str | os.PathLike[str] | Bytes, *, threads: int = 0, target: str = "") -> None:
        """Opens and checks the file, or its bytes: used where they are if they are read-only and aligned to 64, else copied.

        ``threads``: 0 means all usable cores. ``target``: an instruction set as ``rtai devices`` lists them; "" means the best.

        Raises FileNotFoundError; ValueError for a file that is no engine; Error for one that is damaged, for a target
        this machine lacks, or if memory runs out.
        """
        if isinstance(path, (bytes, memoryview, np.ndarray)):
            self._engine = _rtai.Engine.parse(path, threads, target)
        else:
            self._engine = _rtai.Engine(os.fspath(path), threads, target)

    def __call__(self, texts: str | Sequence[str], *, batch_size: int = 64) -> Output:
        """The first output for the texts; for one text, its row or rows.

        Texts that are longer than the model allows are cut. ``batch_size`` texts are computed at a time, which changes
        speed and memory, not the answers. Raises Error if the engine has no tokenizer.
        """
        outputs = self.run([texts] if isinstance(texts, str) else texts, batch_size=batch_size)
        first = next(iter(outputs.values()))
        return first[0] if isinstance(texts, str) else first

    def run(self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, batch_size: int = 64) -> dict[str, Output]:
        """All outputs by their names; with ``pairs``, of each text together with its second one."""
        return self._engine.run(_bytes(texts), None if pairs is None else _bytes(pairs), batch_size)

    def run_ids(self, ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None, *,
                batch_size: int = 64) -> dict[str, Output]:
        """The same for token ids, special tokens included. Raises ValueError for ids that the model does not have."""
        return self._engine.run_ids(list(ids), None if segments is None else list(segments), batch_size)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, special tokens included."""
        return self._engine.tokenize(_bytes(texts))

    def classify(self, logits: Floats) -> tuple[npt.NDArray[np.int32], Floats]:
        """The class of each row, the first of the best, and the scores of all classes: what ``rtai run`` makes of logits.

        Shapes: [sequences, classes] -> [sequences], [sequences, classes]. Raises ValueError where a logit is NaN.
        """
        return _rtai.classify(logits, self.facts.get("problem_type") == "multi_label_classification")

    def label(self, i: int) -> str:
        """The name of class ``i``: the model's, or "LABEL_3"."""
        return self.labels[i] if i < len(self.labels) else f"LABEL_{i}"

    @property
    def labels(self) -> list[str]:
        """Names of the classes, by their numbers; empty if the model has none."""
        return self._engine.labels

    @property
    def facts(self) -> dict[str, str]:
        """What travels in the file: "task", "source_sha256", "rtai_version"."""
        return self._engine.facts

    @property
    def target(self) -> str:
        """The instruction set in use."""
        return self._engine.target

    @property
    def threads(self) -> int:
        return self._engine.threads

    def __repr__(self) -> str:
        return f"<rtai.Engine {self.facts.get('task', '')}, {self.target}, {self.threads} threads>"
