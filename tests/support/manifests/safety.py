"""What the manifests must not make possible."""

from collections.abc import Iterator
from ipaddress import ip_network
from urllib.parse import urlsplit

from tests.support.manifests.reading import Document, Documents, all_of, container, is_sandbox, pod, setting

PRIVATE_NETWORKS = [
    ip_network(each)
    for each in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
]
"""Where clusters, companies and the clouds' metadata services live."""
RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
DEFAULT_PORTS = {"http": 80, "https": 443}
DNS = {("UDP", 53), ("TCP", 53)}
WEB = {("TCP", 80), ("TCP", 443)}
REDIS = {("TCP", 6379)}
"""Where the redis component leads, to pods of one namespace."""


def check_pod_security(documents: Documents) -> list[str]:
    """The "restricted" Pod Security Standard, and what it leaves open: a fixed user, a read-only root, no token."""
    spec, one = pod(documents), container(documents)
    whole, own = spec.get("securityContext", {}), one.get("securityContext", {})
    both = whole | own
    capabilities = own.get("capabilities", {})
    seccomp = both.get("seccompProfile", {}).get("type")
    kinds = {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"}
    wrong = {
        "it may run as root": both.get("runAsNonRoot") is not True or both.get("runAsUser", 1) == 0,
        "its user is not fixed": not both.get("runAsUser"),
        "it may gain privileges": own.get("allowPrivilegeEscalation") is not False,
        "it is privileged": own.get("privileged", False),
        "it keeps capabilities": capabilities.get("drop") != ["ALL"] or bool(capabilities.get("add")),
        "no seccomp profile holds it": seccomp not in {"RuntimeDefault", "Localhost"},
        "it leaves AppArmor": both.get("appArmorProfile", {}).get("type") == "Unconfined",
        "it chooses its SELinux labels": bool(both.get("seLinuxOptions")),
        "it shares the node's namespaces": any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
        "it takes a port of the node": any("hostPort" in port for port in one["ports"]),
        "it mounts more than a restricted pod may": not kinds <= RESTRICTED_VOLUMES,
        "it sets sysctls": bool(whole.get("sysctls")),
        "it unmasks /proc": own.get("procMount", "Default") != "Default",
        "it can write to its image": own.get("readOnlyRootFilesystem") is not True,
        "it holds a token for the cluster": spec.get("automountServiceAccountToken") is not False,
        "other Services can set its variables": spec.get("enableServiceLinks") is not False,
        "more runs beside it than is checked": bool(spec.get("initContainers") or spec.get("ephemeralContainers")),
    }
    return [complaint for complaint, holds in wrong.items() if holds]


def check_secrets(documents: Documents) -> list[str]:
    """Secrets come as a read-only folder that SECRETS_DIR names, and never as variables; the sandbox needs none."""
    one = container(documents)
    complaints = ["a secret is a variable"] if any(_from_secret(each) for each in one.get("env", [])) else []
    if any("secretRef" in source for source in one.get("envFrom", [])):
        complaints.append("a secret's keys are variables")
    if all_of(documents, "Secret"):
        complaints.append("a secret stands in the manifests")
    volumes = [volume["name"] for volume in pod(documents).get("volumes", []) if "secret" in volume]
    if is_sandbox(documents):
        return complaints + (["the sandbox needs no secret"] if volumes else [])
    mounts = [mount for mount in one.get("volumeMounts", []) if mount["name"] in volumes]
    if setting(documents, "secrets_dir") not in [mount["mountPath"] for mount in mounts]:
        complaints.append("SECRETS_DIR is not where a secret is mounted")
    if any("subPath" in mount or "subPathExpr" in mount for mount in mounts):
        complaints.append("a subPath never follows a changed secret")
    if any("items" in volume.get("secret", {}) for volume in pod(documents).get("volumes", [])):
        complaints.append("a list of keys leaves out the next one")
    if not all(mount.get("readOnly") for mount in mounts):
        complaints.append("a secret's mount is not read-only")
    return complaints


def _from_secret(variable: Document) -> bool:
    return "secretKeyRef" in variable.get("valueFrom", {})


def check_network(documents: Documents) -> list[str]:
    """In: known callers on the public port, Prometheus on the metrics port. Out: DNS, the platform, perhaps Redis."""
    policies = [policy["spec"] for policy in all_of(documents, "NetworkPolicy")]
    if len(policies) != 1:
        return ["there is not one NetworkPolicy"]
    (policy,) = policies
    complaints = [] if set(policy["policyTypes"]) == {"Ingress", "Egress"} else ["one direction is left open"]
    return complaints + list(_incoming(policy)) + list(_outgoing(documents, policy))


def _incoming(policy: Document) -> Iterator[str]:
    let_in = [[port["port"] for port in rule.get("ports", [])] for rule in policy["ingress"]]
    if sorted(let_in) != [["http"], ["metrics"]]:
        yield "callers and Prometheus must have a rule each, with a port each"
    for rule, ports in zip(policy["ingress"], let_in, strict=True):
        peers = rule.get("from", [])
        if not peers or {} in peers or {"namespaceSelector": {}} in peers:
            yield "a rule lets everybody in"
        if "metrics" in ports and {"podSelector": {}} in peers:
            yield "every caller may read the metrics"


def _outgoing(documents: Documents, policy: Document) -> Iterator[str]:
    if is_sandbox(documents):
        if policy["egress"]:
            yield "the sandbox needs no way out"
        return
    opened = [{(port["protocol"], port["port"]) for port in rule.get("ports", [])} for rule in policy["egress"]]
    if DNS not in opened:
        yield "names cannot be looked up"
    url = urlsplit(setting(documents, "upstream_url"))
    if not any(("TCP", url.port or DEFAULT_PORTS[url.scheme]) in ports for ports in opened):
        yield "the platform cannot be reached"
    for rule, ports in zip(policy["egress"], opened, strict=True):
        if ports == REDIS and not all(peer.keys() == {"namespaceSelector", "podSelector"} for peer in rule["to"]):
            yield "more than the pods of Redis can be reached"
        if not ports or not (ports <= DNS | WEB or ports == REDIS) or any("endPort" in port for port in rule["ports"]):
            yield "more ports than DNS, the web and Redis are open"
        if not rule.get("to"):
            yield "a rule lets everything out"
        for block in (peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer):
            yield from _reaches_inside(block)


def _reaches_inside(block: Document) -> Iterator[str]:
    """A complaint for each private network that the block holds. A single address in one (a DNS cache) is meant."""
    network = ip_network(block["cidr"])
    for private in PRIVATE_NETWORKS:
        if private[0] in network and private[-1] in network and str(private) not in block.get("except", []):
            yield f"{private} can be reached"
