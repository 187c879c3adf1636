"""Writes a CycloneDX bill of materials: every crate that is in the program, from `cargo metadata` on standard input."""

import json
import sys

metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]
reached, waiting = {root}, [root]
while waiting:
    for dependency in nodes[waiting.pop()]["deps"]:
        # neither what only tests use nor what only the build runs
        if any(kind["kind"] is None for kind in dependency["dep_kinds"]) and dependency["pkg"] not in reached:
            reached.add(dependency["pkg"])
            waiting.append(dependency["pkg"])


def component(package):
    purl = "pkg:cargo/%s@%s" % (package["name"], package["version"])
    found = {"type": "library", "bom-ref": purl, "name": package["name"], "version": package["version"], "purl": purl}
    if package["license"]:
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return found


crates = sorted((packages[id] for id in reached if id != root), key=lambda package: (package["name"], package["version"]))
json.dump(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": dict(component(packages[root]), type="application")},
        "components": [component(package) for package in crates],
    },
    sys.stdout,
    indent=1,
)
print()
