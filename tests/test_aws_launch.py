"""cluster.yaml through Ray's AWS provider on a pretended AWS: groups, image, key, roles, a head and a spot worker."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws import config as ray_aws
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
OWN_ADDRESS = "203.0.113.7/32"


@pytest.fixture
def ec2(tmp_path, monkeypatch):
    """EC2 with a default network, as an account has it; Ray's key comes into a home folder of its own."""
    for key, value in (("HOME", str(tmp_path)), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(ray_aws.time, "sleep", lambda seconds: None)  # until a role is known everywhere
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield boto3.client("ec2", region_name="us-west-2")


def group_of_docs(ec2: Any) -> str:
    """Make the security group as docs/cluster.md does."""
    group = ec2.create_security_group(GroupName="pruning-sweeps", Description="nodes")["GroupId"]
    members = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=members)
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp=OWN_ADDRESS)
    return str(group)


def test_what_ray_makes_of_our_file(ec2, tmp_path):
    (tmp_path / ".ssh").mkdir()
    group = group_of_docs(ec2)
    image = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"][0]["ImageId"]
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    text = text.replace("ami-CHANGEME", image).replace("sg-CHANGEME", group).replace("fs-CHANGEME", "fs-0")
    config = ray_aws.bootstrap_aws(prepare_config(yaml.safe_load(text)))

    groups = ec2.describe_security_groups()["SecurityGroups"]
    assert {each["GroupName"] for each in groups} == {"default", "pruning-sweeps"}, "Ray made one of its own"
    rules = next(each for each in groups if each["GroupId"] == group)["IpPermissions"]
    assert [span["CidrIp"] for rule in rules for span in rule["IpRanges"]] == [OWN_ADDRESS]
    iam = boto3.client("iam")
    rights = iam.list_attached_role_policies(RoleName="ray-autoscaler-v1")["AttachedPolicies"]
    assert {each["PolicyName"] for each in rights} == {"AmazonEC2FullAccess", "AmazonS3FullAccess"}

    provider = _get_node_provider(config["provider"], config["cluster_name"], use_cache=False)
    for name, kind in (("head", "head"), ("gpu_spot", "worker")):
        wanted = deepcopy(config["available_node_types"][name]["node_config"])
        wanted |= deepcopy(config["head_node"]) if kind == "head" else {}  # as `ray up` does
        tags = {"ray-node-type": kind, "ray-user-node-type": name, "ray-node-name": name}
        provider.create_node(wanted, tags | {"ray-launch-config": "x", "ray-node-status": "uninitialized"}, 1)
    nodes = [node for found in ec2.describe_instances()["Reservations"] for node in found["Instances"]]
    head, worker = sorted(nodes, key=lambda node: node.get("InstanceLifecycle", ""))
    assert (head["InstanceType"], worker["InstanceType"]) == ("m6i.xlarge", "g5.2xlarge")
    assert worker["InstanceLifecycle"] == "spot" and "InstanceLifecycle" not in head
    for node in nodes:
        assert [each["GroupId"] for each in node["SecurityGroups"]] == [group]
        assert node["ImageId"] == image
        assert node["KeyName"].startswith("ray-autoscaler_")
    assert head["IamInstanceProfile"]["Arn"].endswith("/ray-autoscaler-v1")
    assert "IamInstanceProfile" not in worker  # docs/cluster.md says how it gets one
    assert Path(config["auth"]["ssh_private_key"]).stat().st_mode & 0o077 == 0
