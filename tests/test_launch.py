"""launch/jobset.yaml is a JobSet, and its pods are told who they are."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture
def jobset():
    return yaml.safe_load((ROOT / "launch/jobset.yaml").read_text())


def check(document):
    """Against the schema that JobSet's releases install in a cluster (tests/golden/jobset.py)."""
    jsonschema.validate(document, json.loads((ROOT / "tests/golden/jobset.json").read_text()))


def job(jobset):
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]


def test_the_jobset_is_what_its_schema_wants(jobset):
    check(jobset)
    job(jobset)["template"]["spec"]["containers"][0]["enviroment"] = []
    with pytest.raises(jsonschema.ValidationError, match="enviroment"):
        check(jobset)


def test_as_many_pods_are_started_as_are_waited_for_at_the_first_ones_address(jobset):
    (container,) = job(jobset)["template"]["spec"]["containers"]
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert job(jobset)["parallelism"] == job(jobset)["completions"] == int(env["JAX_NUM_PROCESSES"])
    name, worker = jobset["metadata"]["name"], jobset["spec"]["replicatedJobs"][0]["name"]
    port = container["ports"][0]["containerPort"]
    assert env["JAX_COORDINATOR_ADDRESS"] == f"{name}-{worker}-0-0.{name}:{port}"
    assert "JAX_PROCESS_ID" in env
