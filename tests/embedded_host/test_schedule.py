"""NCRONTAB."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded_host.schedule import parse_schedule

SUNDAY = datetime(2026, 11, 22, 21, 56, 30, 500, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("*/5 * * * * *", "2026-11-22T21:56:35"),
        ("0 */5 * * * *", "2026-11-22T22:00:00"),
        ("0 */5 * * * MON", "2026-11-23T00:00:00"),
        ("*/15 * * * *", "2026-11-22T22:00:00"),
        ("30 56 21 * * *", "2026-11-23T21:56:30"),
        ("0 0 0 1 JAN *", "2027-01-01T00:00:00"),
        ("0 30 9 * * 1-5", "2026-11-23T09:30:00"),
        ("0 0 0 13 * FRI", "2027-08-13T00:00:00"),
        ("0 0 12 29 2 *", "2028-02-29T12:00:00"),
        ("10,20 0 0 * * Sunday", "2026-11-29T00:00:10"),
        ("0 50-59/3 * * * *", "2026-11-22T21:59:00"),
        ("0 10/20 * * * *", "2026-11-22T22:10:00"),
    ],
)
def test_the_next_due_time(text: str, due: str) -> None:
    """Strictly after the moment; day and weekday must both match."""
    assert parse_schedule(text).after(SUNDAY) == datetime.fromisoformat(due).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("* * * *", "six fields"),
        ("61 * * * * *", "second '61'"),
        ("0 0 0 0 * *", "day '0'"),
        ("0 0 0 * * 7", "day of week '7'"),
        ("0 0 0 * FOO *", "month 'FOO'"),
        ("0 5-1 * * * *", "minute '5-1'"),
        ("0 */0 * * * *", "minute '*/0'"),
        ("0 1.5 * * * *", "minute '1.5'"),
        ("0 , * * * *", "minute ''"),
    ],
)
def test_an_error_names_the_field(text: str, names: str) -> None:
    """And what is wrong with it."""
    with pytest.raises(ValueError, match="schedule ") as error:
        parse_schedule(text)
    assert names in str(error.value)


def test_a_date_that_does_not_exist_is_never_due() -> None:
    """30 February."""
    with pytest.raises(ValueError, match="never due"):
        parse_schedule("0 0 0 30 2 *").after(SUNDAY)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), st.integers(0, 59), st.integers(0, 59))
def test_due_times_match_their_fields_and_leave_none_out(moment: datetime, second: int, minute: int) -> None:
    """Within the hour: the only time that matches is the one that is found."""
    moment = moment.replace(tzinfo=UTC)
    due = parse_schedule(f"{second} {minute} * * * *").after(moment)
    assert due > moment
    assert (due.second, due.minute) == (second, minute)
    assert (due - moment).total_seconds() <= 3600
