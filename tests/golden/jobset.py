"""python tests/golden/jobset.py CRD.yaml: jobset.json, the part of JobSet's schema that
launch/jobset.yaml lives in.

CRD.yaml is config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml of
github.com/kubernetes-sigs/jobset; jobset.json was made from its release v0.12.0 (commit f22e565,
Apache-2.0). Left out are descriptions, rules in CEL, and the fields named below, which are most
of it. As the API server does when asked to be strict, unknown fields are refused.
"""

import json
import sys
from pathlib import Path

import yaml

KEPT = ("type", "required", "enum", "minimum", "maximum", "maxItems", "pattern", "anyOf")
LEFT_OUT = {  # of a pod
    "affinity",
    "ephemeralContainers",
    "initContainers",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "topologySpreadConstraints",
    "resourceClaims",
    "schedulingGates",
    "volumeClaimPolicies",
}
VOLUMES = {"name", "configMap", "emptyDir", "hostPath", "persistentVolumeClaim", "secret"}


def reduced(node, name=""):
    """The schema of a field, without what is left out."""
    found = {key: node[key] for key in KEPT if key in node}
    if "properties" in node:
        names = [
            n
            for n in node["properties"]
            if n not in LEFT_OUT and (name != "volumes" or n in VOLUMES)
        ]
        found["properties"] = {n: reduced(node["properties"][n], n) for n in names}
        found["additionalProperties"] = False
    elif isinstance(node.get("additionalProperties"), dict):
        found["additionalProperties"] = reduced(node["additionalProperties"])
    if "items" in node:
        found["items"] = reduced(node["items"], name)
    return found


if __name__ == "__main__":
    crd = yaml.safe_load(Path(sys.argv[1]).read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    properties = schema["properties"]
    properties["apiVersion"]["enum"] = [
        f"{crd['spec']['group']}/{crd['spec']['versions'][0]['name']}"
    ]
    properties["kind"]["enum"] = [crd["spec"]["names"]["kind"]]
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    text = json.dumps(reduced(schema), separators=(",", ":"))
    Path(__file__).with_suffix(".json").write_text(text + "\n")
