"""From a MIL program to files: each byte written once, the same bytes for the same input, and whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coregraft.lowering.metadata import Metadata
from coregraft.rewriter.errors import CoregraftError, UnsupportedError, UsageError
from coregraft.rewriter.target import Target

SUFFIXES: dict[str, str] = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}
_AUTHOR = "com.apple.CoreML"
#: How a line of a generated text is a comment, by suffix.
_COMMENTS = {".swift": ("// ", ""), ".metal": ("// ", ""), ".md": ("<!-- ", " -->")}
#: Protobuf's own limit on one message.
_MAX_MESSAGE = (1 << 31) - 1
#: Specification version of a neuralnetwork with the layers of iOS 13.
_NN_VERSION = 4


def check_suffix(path: Path, format: str) -> None:
    """Check that a file name has the suffix of its format.

    Raises:
        UsageError: ``output-suffix``.
    """
    wanted = SUFFIXES[format]
    if path.suffix != wanted:
        raise UsageError(
            "output-suffix", f'"{path.name}" does not end in {wanted}, as a {format} must', hint=f"{path.stem}{wanted}"
        )


def write(program: Any, path: str | Path, target: Target, metadata: Metadata) -> None:
    """Write a program that :func:`coregraft.lowering.pipeline.run` has been over. What stood at ``path`` is replaced
    only when all has been written.

    Raises:
        UsageError: ``output-suffix``; ``output-unwritable``.
        UnsupportedError: ``custom-layer-in-program``; ``model-too-large``; ``lowering-failed``.
    """
    path = Path(path)
    check_suffix(path, target.format)
    with _placed(path) as fresh:
        if target.format == "mlprogram":
            _write_package(program, fresh, target, metadata)
        else:
            fresh.write_bytes(_serialized(_network(program, metadata)))


def stamp(path: str | Path, text: str) -> str:
    """A generated text with a last line by which :func:`is_edited` knows it again; JSON has no room for one."""
    opening, closing = _COMMENTS.get(Path(path).suffix, ("", ""))
    if not opening:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{text}{opening}coregraft {digest}: replaced by the next conversion unless edited{closing}\n"


def is_edited(path: Path) -> bool:
    """Whether a file that :func:`stamp` could mark is not as it was generated.

    Raises:
        OSError: it cannot be read.
    """
    if path.suffix not in _COMMENTS:
        return False
    lines = path.read_bytes().decode("utf-8", "replace").splitlines(keepends=True)
    text = "".join(lines[:-1])
    return stamp(path, text) != "".join(lines)


def place_text(path: Path, text: str) -> bool:
    """Write a generated text, folders included, unless an edited file is there; whether it was written.

    Raises:
        UsageError: ``output-unwritable``.
    """
    try:
        if path.exists() and is_edited(path):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise _unwritable(path, error) from error
    return True


def refuse_custom_layers(spec: Any) -> None:
    """Check that an ML Program has no custom layer: coremltools emits them, and Core ML then fails to load (H8.01).

    Raises:
        UnsupportedError: ``custom-layer-in-program``.
    """
    for function in spec.mlProgram.functions.values():
        pending = list(function.block_specializations.values())
        while pending:
            for op in pending.pop().operations:
                if op.type == "custom_layer":
                    name = op.outputs[0].name if op.outputs else op.type
                    raise UnsupportedError(
                        "custom-layer-in-program", "an ML Program cannot hold a custom layer", node=name,
                        hint="--format neuralnetwork, or a pass or plugin that decomposes the op",
                    )  # fmt: skip
                pending.extend(op.blocks)


def _write_package(program: Any, package: Path, target: Target, metadata: Metadata) -> None:
    from coremltools.converters.mil.backend.mil.load import load

    from coregraft.lowering.emitter import mil_opset

    data = package / "Data" / _AUTHOR
    weights = data / "weights"
    weights.mkdir(parents=True)
    spec = _exported(lambda: load(program, weights_dir=str(weights), specification_version=int(mil_opset(target))))
    refuse_custom_layers(spec)
    metadata.write(spec)
    model = _serialized(spec)
    (data / "model.mlmodel").write_bytes(model)
    entries = [("model.mlmodel", "CoreML Model Specification", hashlib.sha256(model).hexdigest())]
    if any(weights.iterdir()):
        entries.append(("weights", "CoreML Model Weights", f"weights of {entries[0][2]}"))
    else:
        weights.rmdir()
    (package / "Manifest.json").write_text(_manifest(entries), encoding="utf-8")


def _network(program: Any, metadata: Metadata) -> Any:
    from coremltools.converters.mil.backend.nn.load import load

    # coremltools draws a progress bar here and offers no way to ask it not to.
    with contextlib.redirect_stderr(io.StringIO()):
        spec = _exported(lambda: load(program))
    spec.specificationVersion = max(spec.specificationVersion, _NN_VERSION)
    metadata.write(spec)
    return spec


def _exported(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (ValueError, TypeError, NotImplementedError, AssertionError, KeyError, AttributeError) as error:
        raise UnsupportedError("lowering-failed", f"coremltools cannot export the program: {error}") from error


def _serialized(spec: Any) -> bytes:
    if spec.ByteSize() > _MAX_MESSAGE:
        raise UnsupportedError(
            "model-too-large", "the model description is larger than 2 GB, which protobuf cannot hold",
            hint="--format mlprogram keeps the weights in a file of their own",
        )  # fmt: skip
    return bytes(spec.SerializeToString(deterministic=True))


def _manifest(entries: list[tuple[str, str, str]]) -> str:
    """The package's table of contents; the identifiers are derived from the content."""
    items = {
        str(uuid.uuid5(uuid.NAMESPACE_OID, digest)): {
            "author": _AUTHOR, "description": description, "name": name, "path": f"{_AUTHOR}/{name}",
        }
        for name, description, digest in entries
    }  # fmt: skip
    root = next(iter(items))
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": items, "rootModelIdentifier": root}
    return json.dumps(manifest, indent=4, sort_keys=True) + "\n"


def move(source: Path, path: Path) -> None:
    """Move a package on the same file system to ``path``, in place of what stands there.

    Raises:
        UsageError: ``output-unwritable``.
    """
    with _placed(path) as fresh:
        source.rename(fresh)


@contextlib.contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """A path to write to beside ``path``; it takes the place of ``path`` if the block succeeds, else it is removed.

    Raises:
        UsageError: ``output-unwritable``.
    """
    try:
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield holder / "new"
        _swap(holder / "new", path, holder / "old")
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _swap(fresh: Path, path: Path, aside: Path) -> None:
    """Put ``fresh`` in the place of ``path``; a folder that stands there is kept at ``aside`` until that is done."""
    if not path.is_dir() or path.is_symlink():
        if fresh.is_dir() and path.exists():
            path.rename(aside)
        fresh.replace(path)
        return
    path.rename(aside)
    try:
        fresh.rename(path)
    except OSError:
        aside.rename(path)
        raise


def _unwritable(path: Path, error: OSError) -> CoregraftError:
    return UsageError("output-unwritable", f'cannot write "{path}": {error.strerror or error}', node=str(path))
