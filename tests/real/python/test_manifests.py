"""What docker/ ships: each manifest is right by the schemas of Kubernetes, each configuration by `fairlead check`.

FAIRLEAD names the program. No cluster is asked.
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

import kubernetes_validate
import yaml

DOCKER = pathlib.Path(__file__).resolve().parents[3] / "docker"
TOKENS = '[[token]]\nsha256 = "%s"\nuser = "alice"\n' % ("0" * 64)


def documents(path):
    with open(path) as file:
        return list(yaml.safe_load_all(file))


def manifests():
    return [(path, doc) for path in sorted((DOCKER / "kubernetes").glob("*.yaml")) for doc in documents(path)]


def of_kind(kind, name):
    found = [doc for _, doc in manifests() if doc["kind"] == kind and doc["metadata"]["name"] == name]
    assert len(found) == 1, (kind, name, len(found))
    return found[0]


def check(text, elsewhere=None):
    """The words of `fairlead check` on this configuration, with the files of secrets beside it. Fails if it is wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for name in ("tokens", "connection"):
            (folder / name).mkdir()
        (folder / "tokens" / "tokens.toml").write_text(TOKENS)
        (folder / "tokens.toml").write_text(TOKENS)
        (folder / "connection" / "token").write_text("secret")
        config = folder / "fairlead.toml"
        config.write_text(text.replace(elsewhere, scratch) if elsewhere else text)
        done = subprocess.run(
            [os.environ["FAIRLEAD"], "check", "--config", config],
            env={"CLI_TOKEN": "secret"}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


class Manifests(unittest.TestCase):
    def test_kubernetes_would_take_every_manifest(self):
        seen = 0
        for path, doc in manifests():
            with self.subTest(path.name, kind=doc["kind"]):
                kubernetes_validate.validate(doc, "1.33", strict=True)
                seen += 1
        self.assertGreaterEqual(seen, 6)

    def test_a_wrong_manifest_would_be_found(self):
        doc = of_kind("Deployment", "copilot")
        doc["spec"]["replica"] = 1
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(doc, "1.33", strict=True)

    def test_the_service_of_the_clis_is_headless_and_named_in_the_configuration(self):
        service = of_kind("Service", "copilot")
        self.assertEqual(service["spec"]["clusterIP"], "None")
        name = "{name}.{namespace}.svc.cluster.local".format(**service["metadata"])
        text = of_kind("ConfigMap", "fairlead")["data"]["fairlead.toml"]
        self.assertIn(f'"{name}:{service["spec"]["ports"][0]["port"]}"', text)

    def test_every_volume_and_port_that_is_used_exists(self):
        for kind, name in (("Deployment", "copilot"), ("StatefulSet", "fairlead")):
            spec = of_kind(kind, name)["spec"]
            pod = spec["template"]["spec"]
            claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
            volumes = {volume["name"] for volume in pod["volumes"]} | set(claims)
            for container in pod["containers"]:
                self.assertEqual({mount["name"] for mount in container["volumeMounts"]}, volumes)

    def test_fairlead_has_time_to_drain_before_it_is_killed(self):
        grace = of_kind("StatefulSet", "fairlead")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        text = of_kind("ConfigMap", "fairlead")["data"]["fairlead.toml"]
        self.assertIn('shutdown_delay = "10s"', text)
        self.assertIn('drain_timeout = "5m"', text)
        self.assertGreater(grace, 10 + 300)

    def test_the_configuration_of_kubernetes_is_right(self):
        text = of_kind("ConfigMap", "fairlead")["data"]["fairlead.toml"]
        said = check(text, elsewhere="/run/fairlead")
        self.assertIn("copilot.copilot.svc.cluster.local:4321", said)

    def test_the_configuration_of_azure_is_right_and_fits_its_containers(self):
        check((DOCKER / "azure" / "fairlead.toml").read_text())
        group = documents(DOCKER / "azure" / "container-group.yaml")[0]["properties"]
        ports = [c["properties"]["command"][-1] for c in group["containers"] if c["name"].startswith("cli-")]
        text = (DOCKER / "azure" / "fairlead.toml").read_text()
        self.assertEqual(len(ports), 2)
        for port in ports:
            self.assertIn(f'"127.0.0.1:{port}"', text)
        volumes = {volume["name"] for volume in group["volumes"]}
        for container in group["containers"]:
            self.assertLessEqual({m["name"] for m in container["properties"]["volumeMounts"]}, volumes)


if __name__ == "__main__":
    unittest.main()
