"""docs/metrics.md, docs/runbook.md, the rules and the dashboard say what the code says, and lead somewhere."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.api.catalogue import CATALOGUE
from tests.conftest import ROOT
from tests.support.platform import FakePlatform, reply
from tests.support.scraping import Scrape, metrics_of, scrape
from tests.support.service import service
from tools.drill.diagnosis import CAUSES

pytestmark = pytest.mark.anyio

METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
MONITORING = ROOT / "deploy" / "monitoring"
RULES = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))
TESTS = (MONITORING / "rules.test.yaml").read_text(encoding="utf-8")
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
OF_THE_SCRAPE = {"job", "instance", "le"}
"""Labels that a scraper or the format adds."""

Known = dict[str, set[str]]


def in_the_documents(name: str, kind: str) -> str:
    """A family's name as people write it."""
    return name + {"counter": "_total", "info": "_info"}.get(kind, "")


@pytest.fixture
async def known() -> Known:
    """Every metric with its labels, after traffic that fills each of them."""
    platform = FakePlatform()
    platform.always = reply([{"id_sms": 1, "state": "read", "price": "dear", "time_change_state": ""}])
    async with service(platform) as client:
        await client.get("/messages/1/state?detail=true")
        await client.get("/messages/0/state")
        metrics_of(client).cache_request("read", 0.001, "ok")
        seen: Scrape = scrape(client)
    found: Known = {}
    for family in seen.families:
        # The parser takes the suffix of an information metric for a part of its name, as scrapers do.
        name = in_the_documents(family.name, family.type)
        found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return found


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the Markdown table whose head begins with this word."""
    _, _, after = text.partition(f"\n| {first} |")
    rows = after.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


async def test_every_metric_is_documented_with_its_labels_and_no_other(known: Known) -> None:
    documented = {name.strip("`"): set(re.findall(r"`(\w+)`", labels)) for name, labels, *_ in table(METRICS, "metric")}
    assert documented == known


async def test_every_metric_has_a_meaning_and_a_first_step() -> None:
    for name, _, meaning, step in table(METRICS, "metric"):
        assert len(meaning) > 10, name
        assert len(step) > 5, name


def selectors(text: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics that a text names, without the suffix of a histogram's series, each with the labels matched."""
    for name, labels in re.findall(r"\b((?:message_state|process)_\w+)(?:\{([^}]*)\})?", text):
        yield re.sub(r"_(bucket|count|sum)$", "", name), set(re.findall(r"(\w+) *[=!]~?\"", labels))


def expressions() -> Iterator[str]:
    """Every query of the rules and of the dashboard."""
    yield from (rule["expr"] for group in RULES["groups"] for rule in group["rules"])
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", []))
    yield DASHBOARD["templating"]["list"][1]["query"]


async def test_every_metric_that_rules_and_dashboard_name_exists_with_its_labels(known: Known) -> None:
    named = [each for expression in expressions() for each in selectors(expression)]
    assert len(named) > 40
    for name, labels in named:
        assert name in known
        assert labels <= known[name] | OF_THE_SCRAPE, name


async def test_every_metric_that_documents_and_drill_name_exists(known: Known) -> None:
    drill = (ROOT / "tools" / "drill" / "diagnosis.py").read_text(encoding="utf-8").replace("{P}", "message_state")
    assert 'P = "message_state"' in drill
    for name, labels in selectors(METRICS + RUNBOOK + TESTS + drill):
        assert name in known
        assert labels <= known[name] | OF_THE_SCRAPE, name


async def test_every_metric_is_shown_on_the_dashboard(known: Known) -> None:
    shown = {name for expression in expressions() for name, _ in selectors(expression)}
    unshown = {"process_virtual_memory_bytes", "process_start_time_seconds", "process_open_fds", "process_max_fds"}
    assert known.keys() - shown == unshown


def test_what_queries_take_from_recordings_is_recorded() -> None:
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    used = {name for text in expressions() for name in re.findall(r"message_state:[\w:]+", text)}
    assert used == recorded


def test_the_dashboard_has_rows_for_us_the_platform_and_the_callers() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Whose fault is it", "Us", "The platform", "The callers"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def anchors(text: str) -> set[str]:
    """Where links into a document may lead, as GitHub makes them of headings; and explicit ones."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("name", ["metrics.md", "runbook.md", "errors.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    for path, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", (ROOT / "docs" / name).read_text()):
        target = ROOT / "docs" / (path or name)
        assert target.is_file(), path
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


@pytest.mark.parametrize("slug", CATALOGUE)
def test_every_problem_has_a_section_and_its_page_leads_there(slug: str) -> None:
    assert slug in anchors(RUNBOOK)
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").partition(f"\n## {slug}\n")[2]
    assert f"(runbook.md#{slug})" in page.partition("\n## ")[0]


def test_every_alert_leads_to_a_section_and_has_a_test_that_sees_it_fire() -> None:
    alerts = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
    assert len(alerts) > 10
    for name, rule in alerts.items():
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (path, anchor in anchors(RUNBOOK)) == ("docs/runbook.md", True), name
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    fired = {
        each["alertname"]
        for test in yaml.safe_load(TESTS)["tests"]
        for each in test.get("alert_rule_test", [])
        if each["exp_alerts"]
    }
    assert alerts.keys() - fired == {"MessageStateProcessBusy"}  # its summary shows a quantile; counted there instead
    assert 'alertname="MessageStateProcessBusy", alertstate="firing"' in TESTS


def test_the_runbooks_table_is_the_drills() -> None:
    *rows, last = table(RUNBOOK, "question")
    assert last[0] == "All no"
    told = [re.findall(r"\[([^\]]+)\]", cause)[0] for _, cause, _ in rows]
    names = [each.name for each in CAUSES]
    assert ["defect" if name == "internal-error" else name for name in told] == names


def messages() -> Iterator[tuple[str, str]]:
    """Every message that the code logs, with the place; what varies in it is an ellipsis."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield from ((message, str(path)) for message in _health_messages(node))
            index = _message_index(node)
            if index is not None and isinstance(node, ast.Call):
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                message = node.args[index]
                assert isinstance(message, ast.Constant), f"{where}: not a constant sentence"
                if path.name == "store_health.py" and message.value in {"%s", "%s (%s)"}:
                    continue  # the sentences stand where a Health is made
                yield re.sub(r"%[a-z]", "…", str(message.value)), where


def _health_messages(node: ast.AST) -> Iterator[str]:
    """What a ``Health`` logs when what it is about is lost, and when it is found again."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Health":
        texts = {each.arg: str(each.value.value) for each in node.keywords if isinstance(each.value, ast.Constant)}
        yield from (f"{texts['lost']} (…)", texts["found"])


def _message_index(node: ast.AST) -> int | None:
    """Which argument of this call is a log message; None where the call logs nothing."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    if node.func.attr == "LogRecord":
        return 4
    if isinstance(node.func.value, ast.Name) and node.func.value.id == "log":
        return {"debug": 0, "info": 0, "warning": 0, "error": 0, "exception": 0, "log": 1}.get(node.func.attr)
    return None


def test_the_runbooks_commands_show_all_that_its_table_asks_for() -> None:
    """The differences show what rises, and not what is as it was."""
    rising, now = (re.compile(each) for each in re.findall(r"grep -E '([^']+)'", RUNBOOK)[:2])
    table = RUNBOOK[RUNBOOK.index("| question |") : RUNBOOK.index("\n## Nothing answers")]
    asked = set(re.findall(r"`(message_state_\w+)", table))
    assert len(asked) > 10
    counted = {name for name in asked if name.endswith(("_total", "_count"))}
    histograms = {"message_state_event_loop_delay_seconds"}
    assert {name for name in counted if not rising.search(name)} == set()
    assert {name for name in asked - counted - histograms if not now.search(name)} == set()
    assert all(rising.search(f"{name}{part}") for name in histograms for part in ("_sum", "_count"))


def test_the_runbooks_command_prints_by_how_much_each_series_rose(tmp_path: Path) -> None:
    command = RUNBOOK[RUNBOOK.index("\nawk ") : RUNBOOK.index("\n# what is so now")]
    (tmp_path / "before").write_text(
        '# HELP a_total x\na_total{w="of two"} 5.0\nb_count 1e+06\nsame_total 3.0\ng 1.0\n'
    )
    (tmp_path / "after").write_text(
        '# HELP a_total y\na_total{w="of two"} 7.5\nb_count 1.00001e+06\nsame_total 3.0\ng 2.0\nnew_total 1.0\n'
    )
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == '10.000 b_count\n2.500 a_total{w="of two"}\n1.000 new_total\n'


def test_the_messages_of_the_exporter_of_traces_are_those_of_the_installed_library() -> None:
    logged = set()
    for module, what in (
        ("opentelemetry.exporter.otlp.common.http", "spans"),
        ("opentelemetry.sdk._shared_internal", "Span"),
    ):
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.sub(r"%s(?= batch|\.$)", what, node.value)
                logged.add(re.sub(r"%s|%\.2f", "…", named))
    described = {message.strip("`") for message, _, _ in table(RUNBOOK, "message of a library")}
    assert len(described) == 4
    assert described - logged == set()


def test_every_log_message_says_what_to_do_and_no_other_is_described() -> None:
    described = {message.strip("`"): step for message, _, step in table(RUNBOOK, "message")}
    logged = dict(messages())
    assert len(logged) >= 15
    assert logged.keys() - described.keys() == set()
    assert described.keys() - logged.keys() == set()
    assert all(described.values())


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool, where there is one."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian: the package prometheus)")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", MONITORING / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_do_what_their_tests_say() -> None:
    done = promtool("test", "rules", MONITORING / "rules.test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "instead", "noticed_by"),
    [
        ("> 0.0144 and", "> 0.144 and", "the error budget is split"),
        (
            'route!="/readyz",problem=~"internal-error|overloaded"}[5m]',
            'problem=~"internal-error|overloaded"}[5m]',
            "the error budget is split",
        ),
        ("[5m])) < 0.5", "[5m])) < 0.95", "a circuit breaker that is open most of the time"),
    ],
)
def test_a_broken_rule_is_noticed(text: str, instead: str, noticed_by: str, tmp_path: Path) -> None:
    rules = (MONITORING / "rules.yaml").read_text(encoding="utf-8")
    assert text in rules
    (tmp_path / "rules.yaml").write_text(rules.replace(text, instead))
    every = yaml.safe_load(TESTS)
    (one,) = [test for test in every["tests"] if test["name"].startswith(noticed_by)]
    (tmp_path / "rules.test.yaml").write_text(yaml.safe_dump(every | {"tests": [one]}))
    assert promtool("test", "rules", tmp_path / "rules.test.yaml").returncode == 1
