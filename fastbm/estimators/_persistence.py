"""Fitted estimators as files: safetensors with a JSON header and a checksum; reading one never runs code."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

FORMAT = 1
LONGEST_HEADER = 100_000_000


def restored(estimator_class, path):
    """Return the estimator of a file that `write` wrote; ValueError where the content is not that of one.

    What the class makes of arrays and header is ``_from_file(arrays, header)``.
    """
    arrays, header = read(path, estimator_class.__name__)
    try:
        return estimator_class._from_file(arrays, header)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path} was tampered with: its content is not that of a {estimator_class.__name__} ({error})"
        ) from error


def write(path, kind: str, arrays: dict[str, np.ndarray], header: dict) -> None:
    """Write arrays and a JSON header for an estimator of class `kind`; an older file stays whole until this one is."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} exists, and is not a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    text = json.dumps({"format": FORMAT, "class": kind, **header}, sort_keys=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {"fastbm": text, "sha256": _checksum(text, arrays)}
    content = safetensors.numpy.save(arrays, metadata)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path, kind: str) -> tuple[dict[str, np.ndarray], dict]:
    """Read what `write` wrote; ValueError says whether the file is truncated, foreign, of another class or tampered with."""
    content = Path(path).read_bytes()
    _check_frame(path, content)
    try:
        metadata = json.loads(content[8 : 8 + _header_size(content)]).get("__metadata__") or {}
        arrays = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its safetensors header does not fit its content ({error})") from error
    if "fastbm" not in metadata:
        raise ValueError(f"{path} is a foreign file: safetensors, but not written by fastbm")
    if metadata.get("sha256") != _checksum(metadata["fastbm"], arrays):
        raise ValueError(f"{path} was tampered with or damaged: its content does not match its checksum")
    try:
        header = dict(json.loads(metadata["fastbm"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} was tampered with: its header is no JSON object ({error})") from error
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} has format {header.get('format')!r}; this version of fastbm reads format {FORMAT}")
    if header.get("class") != kind:
        raise ValueError(f"{path} is of class {header.get('class')}, not {kind}: use {header.get('class')}.load")
    return arrays, header


def _header_size(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _check_frame(path, content: bytes) -> None:
    if len(content) < 9:
        raise ValueError(f"{path} is truncated: {len(content)} bytes hold no safetensors header")
    if _header_size(content) > LONGEST_HEADER or content[8:9] != b"{":
        raise ValueError(f"{path} is a foreign file: not safetensors")
    end = 8 + _header_size(content)
    if len(content) >= end:
        try:
            tensors = json.loads(content[8:end])
            end += max((entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"), default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: its safetensors header is not valid ({error})") from error
    if len(content) < end:
        raise ValueError(f"{path} is truncated: {len(content)} bytes, its header speaks of at least {end}")


def _checksum(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
