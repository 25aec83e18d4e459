"""What the official package imports but speech does not need, and what its imports break.

The official package is written for one machine with everything installed. A server needs a part of
it: no text normalisers (the front has its own), no training, no plots, no C++ extension.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

LOGGER_NAME = "cosyvoice"
"""Where the official package's messages go."""


def repair_torchaudio() -> None:
    """Let torchaudio be imported without its C++ extension.

    Its wheels on the package index are built against CUDA and do not load beside a CPU torch, nor
    beside a torch of another version. What is used of it (`kaldi.fbank`, `Resample`) is Python.
    """
    if "torchaudio" in sys.modules:
        return
    extension = _module("torchaudio._extension", is_package=True)
    for name in ("_IS_TORCHAUDIO_EXT_AVAILABLE", "_IS_RIR_AVAILABLE", "_IS_ALIGN_AVAILABLE"):
        setattr(extension, name, False)
    extension.fail_if_no_align = extension.fail_if_no_rir = _absent  # type: ignore[attr-defined]
    extension.lazy_import_sox_ext = extension._check_cuda_version = lambda: None  # type: ignore[attr-defined]  # noqa: SLF001 - torchaudio's own names
    sys.modules[extension.__name__] = extension


def lighten_matcha() -> None:
    """Let `matcha.models.components` and `matcha.utils.audio` be imported by themselves.

    `matcha.utils` imports lightning, hydra, matplotlib and others for its training.

    Raises:
        ModuleNotFoundError: there is no `matcha` beside the official package.
    """
    spec = importlib.util.find_spec("matcha")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the official package's submodule Matcha-TTS is missing")
    if "matcha.utils" in sys.modules:
        return
    utils = _module("matcha.utils", is_package=True)
    utils.__path__ = [str(Path(place) / "utils") for place in spec.submodule_search_locations]
    pylogger = _module("matcha.utils.pylogger")
    pylogger.get_pylogger = logging.getLogger  # type: ignore[attr-defined]
    for module in (utils, pylogger):
        sys.modules[module.__name__] = module
    # hyperpyyaml finds a class by walking attributes, not by importing the dotted name.
    importlib.import_module("matcha").utils = utils  # type: ignore[attr-defined]


@contextmanager
def without_text_front_ends() -> Iterator[None]:
    """Keep the official front end from loading text normalisers: texts come here normalised."""
    absent = {"ttsfrd": None, "wetext": None}
    empty = {name: _module(name, is_package=True) for name in ("tn", "tn.chinese", "tn.english")}
    for language in ("chinese", "english"):
        normalizer = _module(f"tn.{language}.normalizer")
        normalizer.Normalizer = _Unused  # type: ignore[attr-defined]
        empty[normalizer.__name__] = normalizer
    inflect = _module("inflect")
    inflect.engine = _Unused  # type: ignore[attr-defined]
    with _modules_replaced({**absent, **empty, "inflect": inflect}):
        yield


@contextmanager
def quiet_import() -> Iterator[None]:
    """Undo what the official package does to the root logger, and send its messages elsewhere.

    Importing it sets the root logger to DEBUG with a handler of its own, for the whole process.
    Its messages, several per second of streamed text, go to the logger `cosyvoice` instead. What
    its libraries say of themselves while it is loaded (names that will change, weights that are
    not loaded yet) is of no use to an operator.
    """
    root = logging.getLogger()
    level, handlers, disabled = root.level, list(root.handlers), root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers
        logger = logging.getLogger(LOGGER_NAME)
        logger.setLevel(logging.WARNING)
        for name, module in list(sys.modules.items()):
            if name.startswith("cosyvoice.") and getattr(module, "logging", None) is logging:
                module.logging = logger  # type: ignore[attr-defined]
        # It calls `torch.cuda.amp.autocast` by its older name for each chunk.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"cosyvoice\.")


class _Unused:
    """Stands for a text normaliser or an inflector that is made but never asked."""

    def __init__(self, **_options: object) -> None:
        pass


def _absent(function: Callable[..., Any]) -> Callable[..., NoReturn]:
    def fail(*_arguments: object, **_options: object) -> NoReturn:
        raise RuntimeError(f"torchaudio's {function.__name__} needs its C++ extension")

    return fail


def _module(name: str, *, is_package: bool = False) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=is_package)
    if is_package:
        module.__path__ = []
    return module


@contextmanager
def _modules_replaced(modules: dict[str, ModuleType | None]) -> Iterator[None]:
    before = {name: sys.modules[name] for name in modules if name in sys.modules}
    # None in sys.modules makes an import of that name fail.
    sys.modules.update(modules)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)
