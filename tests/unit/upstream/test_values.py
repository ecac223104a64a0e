"""Single values of the platform, read leniently and exactly."""

from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstream.wire import read_id, read_parts, read_price, read_time

MOSCOW, BERLIN = ZoneInfo("Europe/Moscow"), ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(("value", "id_"), [("1", 1), (" 82216\n", 82216), ("0005", 5), (str(2**53 - 1), 2**53 - 1)])
def test_an_id_is_read_from_digits(value: str, id_: int) -> None:
    assert read_id(value) == id_


@pytest.mark.parametrize(
    "value", ["", "0", "-1", "+1", "1.0", "1e3", "٣", "²", str(2**53), "9" * 10_000, None, True, 5, [], {}]
)
def test_anything_else_is_no_id(value: object) -> None:
    assert read_id(value) is None


@pytest.mark.parametrize(("value", "parts"), [("1", 1), ("0", 0), ("2.0", 2), (" 3 ", 3), ("", None), (None, None)])
def test_parts_are_read_from_whole_numbers(value: object, parts: int | None) -> None:
    assert read_parts(value) == parts


@pytest.mark.parametrize("value", ["-1", "1.5", "one", "1e2", "NaN", "٣", "9" * 10_000, True, [], {}])
def test_parts_that_are_no_whole_number_are_an_error(value: object) -> None:
    with pytest.raises(ValueError):
        read_parts(value)


@pytest.mark.parametrize(
    ("value", "price"),
    [
        ("10.6000000", "10.6000000"),
        ("10,60", "10.60"),
        ("0", "0"),
        ("-1.50", "-1.50"),
        ("0.12345678901234567890", "0.12345678901234567890"),
        ("1.06E1", "10.6"),
        ("1e-7", "0.0000001"),
        ("1E2", "100"),
        (".5", "0.5"),
        ("5.", "5"),
        (" 1 ", "1"),
        ("", None),
        (None, None),
    ],
)
def test_a_price_keeps_its_digits_with_a_dot_and_without_exponent(value: object, price: str | None) -> None:
    assert read_price(value) == price


@pytest.mark.parametrize(
    "value",
    ["free", "NaN", "-Infinity", "1.2.3", "1,000.50", "10.6 RUB", ".", "e5", "1e999", "9" * 61, "٣", True, [], {}],
)
def test_a_price_that_is_no_number_is_an_error(value: object) -> None:
    with pytest.raises(ValueError):
        read_price(value)


@given(st.decimals(-(10**6), 10**6, allow_nan=False, places=7))
def test_a_decimal_price_comes_out_with_the_same_value(price: Decimal) -> None:
    read = read_price(str(price))
    assert read is not None
    assert Decimal(read) == price
    assert "e" not in read.casefold()


@given(st.text(max_size=30))
def test_any_text_is_a_price_a_gap_or_an_error(text: str) -> None:
    try:
        price = read_price(text)
    except ValueError:
        return
    assert price is None or price.isascii()


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - the platform's times are naive
def test_a_time_keeps_its_digits_and_gains_the_zones_offset(moment: datetime) -> None:
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    read = read_time(text, BERLIN)
    assert read is not None
    assert read.isoformat()[:19] == text.replace(" ", "T")
    assert read.utcoffset() in (timedelta(hours=1), timedelta(hours=2))


def test_an_ambiguous_time_means_the_earlier_one() -> None:
    read = read_time("2021-10-31 02:30:00", BERLIN)
    assert read is not None
    assert read.isoformat() == "2021-10-31T02:30:00+02:00"


@pytest.mark.parametrize("value", [None, "", " ", "0000-00-00 00:00:00", "0000-00-00T00:00:00"])
def test_no_time_is_no_time(value: object) -> None:
    assert read_time(value, MOSCOW) is None


@pytest.mark.parametrize("value", ["2021-04-26T15:15:03", "2021-04-26 15:15:03.123456", " 2021-04-26 15:15:03 "])
def test_close_spellings_of_a_time_are_read(value: str) -> None:
    read = read_time(value, MOSCOW)
    assert read is not None
    assert read.isoformat(timespec="seconds") == "2021-04-26T15:15:03+03:00"


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2021-04-26",
        "26.04.2021 15:15:03",
        "2021-13-01 00:00:00",
        "2021-02-30 00:00:00",
        "2021-04-26 24:00:00",
        "2021-04-26 15:15:03+03:00",
        "٢٠٢١-04-26 15:15:03",
        "0001-01-01 00:00:00",
        True,
        1619439303,
        [],
    ],
)
def test_any_other_time_is_an_error(value: object) -> None:
    with pytest.raises(ValueError):
        read_time(value, MOSCOW)
