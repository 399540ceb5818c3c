"""The Swift package of a model in parts: the runner, a class for each island to fill in, tests on golden vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coregraft.custom_layers.templating import template

#: Folder of the islands' classes, in the folder of the model.
ISLANDS = "Swift/Sources/ModelParts/Islands"
_FILES = {
    "Swift/Package.swift": "PartsPackage.swift.j2",
    "Swift/Sources/ModelParts/PartsManifest.swift": "PartsManifest.swift.j2",
    "Swift/Sources/ModelParts/PartsRunner.swift": "PartsRunner.swift.j2",
    "Swift/Sources/ModelParts/IslandClasses.swift": "PartsIslandClasses.swift.j2",
    "Swift/Tests/ModelPartsTests/ModelPartsTests.swift": "PartsTests.swift.j2",
    "README.md": "PartsReadme.md.j2",
}
#: Oldest systems of a deployment target, as a Swift package names them.
_PLATFORMS = {
    "iOS15": (".iOS(.v15)", ".macOS(.v12)", "5.7"),
    "iOS16": (".iOS(.v16)", ".macOS(.v13)", "5.7"),
    "iOS17": (".iOS(.v17)", ".macOS(.v14)", "5.9"),
    "iOS18": (".iOS(.v18)", ".macOS(.v15)", "6.0"),
    "iOS26": (".iOS(.v26)", ".macOS(.v26)", "6.2"),
}


def files(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The texts by path in the folder, from the manifest."""
    classes: dict[str, list[Mapping[str, Any]]] = {}
    for step in manifest["steps"]:
        if step["kind"] == "custom":
            classes.setdefault(step["class"], []).append(step)
    ios, macos, tools = _PLATFORMS[manifest["target"]]
    classes = dict(sorted(classes.items()))
    facts = {"manifest": manifest, "classes": classes, "ios": ios, "macos": macos, "tools": tools}
    found = {path: template(name).render(facts) for path, name in _FILES.items()}
    for name, steps in classes.items():
        found[f"{ISLANDS}/{name}.swift"] = template("PartsIsland.swift.j2").render(name=name, steps=steps)
    return found

