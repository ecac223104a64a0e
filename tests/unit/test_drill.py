"""The decision that names a cause from two scrapes; ``make drill`` tries it on real processes."""

import pytest

from tests.conftest import ROOT
from tools.drill.__main__ import NIGHT
from tools.drill.diagnosis import CAUSES, NONE, SLOW_SECONDS, cause, parse
from tools.drill.ends import ENDS
from tools.drill.platform import DOWN, FAULTS
from tools.drill.service import RESTRICTED

UPSTREAM = "message_state_upstream_request_duration_seconds"
HTTP = "message_state_http_request_duration_seconds_count"
CACHE = "message_state_cache_request_duration_seconds_count"
PROBLEM = "message_state_lookup_failures_total"
HEALTHY = {"message_state_batching_enabled": 1.0, f'{UPSTREAM}_count{{result="ok"}}': 10.0, f"{UPSTREAM}_sum": 0.3}

CASES = {
    "none": {f'{UPSTREAM}_count{{result="ok"}}': 90.0, f"{UPSTREAM}_sum": 3.0},
    "defect": {f'{HTTP}{{route="/x",method="GET",status="500"}}': 1.0},
    "descriptors used up": {
        'message_state_http_connections_closed_total{limit="descriptors"}': 1.0,
        "message_state_log_lines_lost_total": 1.0,
    },
    "log lines lost": {"message_state_log_stuck_seconds": 2.0},
    "account locked": {'message_state_latch_held{reason="upstream-account-locked"}': 1.0},
    "credentials rejected": {
        'message_state_latch_held{reason="upstream-credentials-rejected"}': 1.0,
        "message_state_log_lines_lost_total": 1.0,
    },
    "throttled": {f'{UPSTREAM}_count{{result="upstream-throttled"}}': 3.0},
    "platform unreachable": {f'{UPSTREAM}_count{{result="upstream-unreachable"}}': 3.0},
    "platform fails": {
        f'{UPSTREAM}_count{{result="upstream-error"}}': 5.0,
        f'{UPSTREAM}_count{{result="upstream-timeout"}}': 1.0,
        'message_state_circuit_state{state="open"}': 1.0,
    },
    "platform's reply unreadable": {f'{UPSTREAM}_count{{result="upstream-invalid-reply"}}': 3.0},
    "platform refuses": {
        f'{UPSTREAM}_count{{result="upstream-rejected"}}': 2.0,
        f'{UPSTREAM}_count{{result="upstream-rejected-request"}}': 2.0,
    },
    "platform answers too late, or never": {
        f'{UPSTREAM}_count{{result="upstream-timeout"}}': 3.0,
        f'{UPSTREAM}_sum{{result="upstream-timeout"}}': 6.0,
        f'{PROBLEM}{{problem="overloaded"}}': 3.0,
    },
    "platform slow": {
        f'{UPSTREAM}_count{{result="ok"}}': 20.0,
        f"{UPSTREAM}_sum": 0.3 + 10 * SLOW_SECONDS,
        f'{PROBLEM}{{problem="overloaded"}}': 3.0,
    },
    "process busy": {
        "message_state_event_loop_delay_seconds_count": 10.0,
        "message_state_event_loop_delay_seconds_sum": 5.0,
        f'{PROBLEM}{{problem="overloaded"}}': 3.0,
    },
    "one caller spoils batches": {
        'message_state_isolated{caller="importer"}': 1.0,
        f'{UPSTREAM}_count{{result="upstream-rejected"}}': 9.0,
    },
    "one caller asks for too much": {
        f'{PROBLEM}{{problem="overloaded"}}': 20.0,
        'message_state_rate_limited_total{caller="importer"}': 19.0,
        'message_state_rate_limited_total{caller="address"}': 0.0,
        'message_state_refused_waits_total{caller="shop",limit="all"}': 1.0,
    },
    "queue full": {f'{PROBLEM}{{problem="overloaded"}}': 3.0},
    "messages not found": {
        f'{PROBLEM}{{problem="message-not-found"}}': 8.0,
        'message_state_lookups_total{source="upstream"}': 10.0,
        "message_state_batching_enabled": 0.0,
    },
    "batching off": {"message_state_batching_enabled": 0.0},
    "shared cache fails": {
        f'{CACHE}{{operation="read",outcome="ok"}}': 50.0,
        f'{CACHE}{{operation="write",outcome="refused"}}': 3.0,
    },
    "undocumented state": {"message_state_undocumented_states_total": 1.0},
    "callers' mistakes": {
        f'{HTTP}{{route="unmatched",method="GET",status="405"}}': 3.0,
        f'{HTTP}{{route="/x",method="GET",status="200"}}': 2.0,
    },
}


@pytest.mark.parametrize("name", CASES)
def test_two_scrapes_name_the_cause(name: str) -> None:
    assert cause(HEALTHY, HEALTHY | CASES[name]).name == name


def test_what_was_there_before_is_no_cause() -> None:
    past = HEALTHY | {f'{UPSTREAM}_count{{result="upstream-error"}}': 500.0, f'{PROBLEM}{{problem="overloaded"}}': 9.0}
    assert cause(past, past) is NONE


def test_a_shared_cache_with_answers_of_another_version_is_no_cause() -> None:
    value = {f'{CACHE}{{operation="read",outcome="value"}}': 9.0, f'{CACHE}{{operation="read",outcome="ok"}}': 50.0}
    assert cause(HEALTHY, HEALTHY | value) is NONE


def test_a_few_unknown_messages_among_many_are_no_cause() -> None:
    some = {
        f'{PROBLEM}{{problem="message-not-found"}}': 2.0,
        'message_state_lookups_total{source="upstream"}': 100.0,
    }
    assert cause(HEALTHY, HEALTHY | some) is NONE


@pytest.mark.parametrize(
    ("refused", "name"),
    [
        ({"importer": 10.0}, "one caller asks for too much"),
        ({"importer": 95.0, "shop": 5.0}, "one caller asks for too much"),
        ({"importer": 80.0, "shop": 20.0}, "queue full"),
        ({"address": 100.0}, "queue full"),
        ({"address": 100.0, "shop": 1.0}, "queue full"),
    ],
)
def test_one_caller_is_the_cause_where_nearly_all_that_was_refused_is_its_own(
    refused: dict[str, float], name: str
) -> None:
    full = {f'{PROBLEM}{{problem="overloaded"}}': 100.0}
    series = {f'message_state_refused_ids_total{{caller="{caller}"}}': count for caller, count in refused.items()}
    assert cause(HEALTHY, HEALTHY | full | series).name == name


def test_every_cause_is_rehearsed_here_and_every_one_that_a_platform_or_caller_can_bring_at_night() -> None:
    assert set(CASES) == {each.name for each in CAUSES} | {NONE.name}
    assert {fault.told for fault in NIGHT} >= set(CASES) - {"defect", "process busy"}


def test_every_fault_of_the_platform_has_its_turn() -> None:
    assert {fault.switched for fault in NIGHT} == {*FAULTS, DOWN}


def test_a_scrape_is_read_as_it_stands() -> None:
    assert parse('# HELP x y\nx{a="b c"} 1.5\ny 2\n') == {'x{a="b c"}': 1.5, "y": 2.0}


def test_every_end_is_in_the_runbooks_account_of_the_drill() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert [name for name in ENDS if f"\nok   {name}\n" not in runbook] == []
    assert [fault.name for fault in NIGHT if f"\nok   {fault.name}: {fault.told} (" not in runbook] == []


@pytest.mark.parametrize(
    ("manifest", "option"),
    [
        ("read_only: true", "--read-only"),
        ("cap_drop: [ALL]", "--cap-drop=ALL"),
        ('security_opt: ["no-new-privileges:true"]', "--security-opt=no-new-privileges"),
    ],
)
def test_an_image_runs_as_the_manifests_run_it(manifest: str, option: str) -> None:
    assert manifest in (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert option in RESTRICTED
