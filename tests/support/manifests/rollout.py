"""What must never be missing: pods while they are replaced, moved or scaled, and the right image in them."""

from tests.support.manifests.reading import Documents, all_of, container, deployment, pod

LEAST_PODS = 2


def check_replicas(documents: Documents) -> list[str]:
    """At least two pods, and one place that says how many."""
    scalers = [scaler["spec"] for scaler in all_of(documents, "HorizontalPodAutoscaler")]
    fixed = deployment(documents)["spec"].get("replicas")
    if scalers and fixed is not None:
        return ["the Deployment's replicas undo the autoscaler's at each apply"]
    least = min([scaler.get("minReplicas", 1) for scaler in scalers], default=fixed or 1)
    return [] if least >= LEAST_PODS else [f"{least} pod is an outage whenever it moves"]


def check_rollout(documents: Documents) -> list[str]:
    """A new pod is ready before an old one goes."""
    strategy = deployment(documents)["spec"].get("strategy", {})
    rolling = strategy.get("rollingUpdate", {})
    complaints = [] if strategy.get("type") == "RollingUpdate" else ["the pods are not replaced one by one"]
    if rolling.get("maxUnavailable") != 0:
        complaints.append("a pod goes before its successor is ready")
    if rolling.get("maxSurge", 0) == 0:
        complaints.append("there is no room for a successor")
    return complaints


def check_disruptions(documents: Documents) -> list[str]:
    """A node can always be drained, and never takes the last pod with it."""
    budgets = [budget["spec"] for budget in all_of(documents, "PodDisruptionBudget")]
    complaints = [] if len(budgets) == 1 else ["there is not one PodDisruptionBudget"]
    complaints += [
        "the budget is not one pod at a time, whatever their number"
        for budget in budgets
        if budget.get("maxUnavailable") != 1
    ]
    spread = {each["topologyKey"] for each in pod(documents).get("topologySpreadConstraints", [])}
    if "kubernetes.io/hostname" not in spread:
        complaints.append("all pods may end up on one node")
    return complaints


def check_image(documents: Documents) -> list[str]:
    """The image has a tag or a digest, and one that stays what it is."""
    name = container(documents)["image"].rpartition("/")[2]
    _, separator, tag = name.partition("@" if "@" in name else ":")
    return [] if separator and tag != "latest" else [f"{name} may be another image tomorrow"]
