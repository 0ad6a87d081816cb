"""What an orchestration may count on, driven through the app's own durable client."""

from datetime import UTC, datetime

from tests.embedded_host.support import Site, fresh_id, until


async def test_activities_run_in_order_and_the_output_is_theirs(site: Site) -> None:
    """An async and a sync activity, one after the other."""
    done = await site.ends(await site.start("hello", "Ann"))
    assert (done["runtimeStatus"], done["output"]) == ("Completed", ["hello Ann", "good day Ann"])
    assert (done["name"], done["input"], done["customStatus"]) == ("hello", "Ann", {"stage": "greeting"})


async def test_fan_out_collects_every_result(site: Site) -> None:
    """Twenty activities at once."""
    done = await site.ends(await site.start("fan_out", 20))
    assert done["output"] == sum(n * n for n in range(20))


async def test_an_event_before_the_wait_is_kept(site: Site) -> None:
    """Raised straight after the start, possibly before the first episode ran."""
    one = await site.start("wait_for", 1)
    assert (await site.raise_event(one, "go", {"n": 1}))[0] == 202
    assert (await site.ends(one))["output"] == [{"n": 1}]


async def test_an_event_while_waiting_wakes(site: Site) -> None:
    """Raised once the orchestrator says that it waits."""
    one = await site.start("wait_for", 1)
    await site.says(one, "waiting 0")
    await site.raise_event(one, "go", "late enough")
    assert (await site.ends(one))["output"] == ["late enough"]


async def test_an_event_twice_is_delivered_twice(site: Site) -> None:
    """The host does not guess that two equal events are one: the app carries decision ids for that."""
    one = await site.start("wait_for", 2)
    await site.raise_event(one, "go", 7)
    await site.raise_event(one, "go", 7)
    assert (await site.ends(one))["output"] == [7, 7]


async def test_an_event_after_the_end_is_refused(site: Site) -> None:
    """The client hears FAILED_PRECONDITION; the output stays."""
    one = await site.start("wait_for", 0)
    done = await site.ends(one)
    status, told = await site.raise_event(one, "go", 1)
    assert (status, told["code"]) == (409, "StatusCode.FAILED_PRECONDITION")
    assert (await site.ends(one))["output"] == done["output"]


async def test_an_event_to_nobody_is_refused(site: Site) -> None:
    """The client hears NOT_FOUND."""
    status, told = await site.raise_event(fresh_id("nobody"), "go", 1)
    assert (status, told["code"]) == (409, "StatusCode.NOT_FOUND")


async def test_a_timer_wins_where_no_event_comes(site: Site) -> None:
    """One second."""
    assert (await site.ends(await site.start("deadline", 1)))["output"] == "timer"


async def test_an_event_wins_over_a_later_timer(site: Site) -> None:
    """And the cancelled timer keeps nothing waiting."""
    one = await site.start("deadline", 3600)
    await site.says(one, "waiting")
    await site.raise_event(one, "go")
    assert (await site.ends(one))["output"] == "event"


async def test_an_activity_failure_fails_the_orchestration_unless_caught(site: Site) -> None:
    """Its text is told."""
    failed = await site.ends(await site.start("failing", {"message": "no such order", "catch": False}))
    assert failed["runtimeStatus"] == "Failed"
    assert "no such order" in failed["output"]
    caught = await site.ends(await site.start("failing", {"message": "no such order", "catch": True}))
    assert (caught["runtimeStatus"], caught["output"]) == ("Completed", "caught")


async def test_an_activity_failure_without_a_message_is_a_failure(site: Site) -> None:
    """`raise ValueError("")`."""
    caught = await site.ends(await site.start("failing", {"message": "", "catch": True}))
    assert caught["output"] == "caught"


async def test_retries_run_until_the_attempt_that_succeeds(site: Site) -> None:
    """Two failures, then success; with one attempt less it fails."""
    enough = await site.ends(await site.start("retrying", {"attempts": 3}))
    assert (enough["runtimeStatus"], enough["output"]) == ("Completed", "done")
    assert (await site.ends(await site.start("retrying", {"attempts": 2})))["runtimeStatus"] == "Failed"


async def test_a_sub_orchestration_answers_its_parent(site: Site) -> None:
    """It has its own instance and waits for its own event."""
    one = await site.start("parent", {"child": "wait_for", "input": 1})
    await site.says(f"{one}-child", "waiting 0")
    await site.raise_event(f"{one}-child", "go", "from outside")
    assert (await site.ends(one))["output"] == {"child": ["from outside"]}


async def test_a_sub_orchestration_that_fails_is_caught_by_its_parent(site: Site) -> None:
    """As an exception at the yield."""
    given = {"child": "failing", "input": {"message": "broken", "catch": False}}
    assert (await site.ends(await site.start("parent", given)))["output"] == "child failed"


async def test_continue_as_new_starts_each_generation_afresh(site: Site) -> None:
    """Six generations whose activities share one task id; none takes another's result."""
    done = await site.ends(await site.start("generations", {"left": 5, "total": 0}))
    assert done["output"] == 25 + 16 + 9 + 4 + 1


async def test_an_unknown_orchestrator_never_completes(site: Site) -> None:
    """A host either refuses the start or fails the instance and says why; it does not leave it waiting."""
    one = fresh_id("unknown")
    status, _, _ = await site.ask("POST", f"/api/start/no_such_orchestrator/{one}")
    if status == 202:
        failed = await site.ends(one)
        assert failed["runtimeStatus"] == "Failed"
        assert "no_such_orchestrator" in failed["output"]
    else:
        assert status == 500


async def test_a_scheduled_start_waits_for_its_time(site: Site) -> None:
    """Pending until then."""
    one = fresh_id("later")
    status, body, _ = await site.ask("POST", f"/api/start_at/hello/{one}", after="1.5")
    assert status == 202
    seen = await site.status(one)
    assert seen is not None
    assert seen["runtimeStatus"] == "Pending"
    await site.ends(one)
    assert datetime.now(UTC) >= datetime.fromisoformat(body["at"])


async def test_suspend_holds_events_until_resume(site: Site) -> None:
    """The event raised meanwhile is not lost."""
    one = await site.start("wait_for", 1)
    await site.says(one, "waiting 0")
    await site.client("suspend", one)
    await site.reaches(one, lambda seen: seen["runtimeStatus"] == "Suspended")
    await site.raise_event(one, "go", "held")
    await site.client("resume", one)
    assert (await site.ends(one))["output"] == ["held"]


async def test_terminate_ends_with_its_reason(site: Site) -> None:
    """And what ended stays ended."""
    one = await site.start("wait_for", 1)
    await site.says(one, "waiting 0")
    await site.client("terminate", one, reason="no longer wanted")
    done = await site.ends(one)
    assert (done["runtimeStatus"], done["output"]) == ("Terminated", "no longer wanted")
    assert (await site.raise_event(one, "go", 1))[0] == 409


async def test_purge_forgets_what_ended_and_only_that(site: Site) -> None:
    """Of a running instance nothing is purged."""
    one = await site.start("wait_for", 1)
    await site.says(one, "waiting 0")
    assert await site.client("purge", one) == (200, 0)
    await site.raise_event(one, "go", 1)
    await site.ends(one)
    assert await site.client("purge", one) == (200, 1)
    assert await site.status(one) is None


async def test_a_running_instance_id_cannot_be_started_again_and_an_ended_one_can(site: Site) -> None:
    """The second start of a running one fails inside the app, which answers 500."""
    one = await site.start("wait_for", 1)
    await site.says(one, "waiting 0")
    status, _, _ = await site.ask("POST", f"/api/start/hello/{one}", body="Ann")
    assert status == 500
    await site.raise_event(one, "go", "first life")
    assert (await site.ends(one))["output"] == ["first life"]
    await site.start("hello", "Ann", one)
    again = await site.reaches(one, lambda seen: seen["runtimeStatus"] == "Completed" and seen["name"] == "hello")
    assert again["output"] == ["hello Ann", "good day Ann"]


async def test_the_client_reads_the_status(site: Site) -> None:
    """As the webhook API tells it."""
    one = await site.start("hello", "Ann")
    await site.ends(one)
    status, told = await site.client("status", one)
    assert (status, told["runtimeStatus"], told["instanceId"]) == (200, "Completed", one)


async def test_an_entity_keeps_its_state_between_calls(site: Site) -> None:
    """Called by an orchestration, read by the client, signalled by the client."""
    key = fresh_id("counter")
    assert await site.entity("Counter", key) is None
    done = await site.ends(await site.start("counting", key))
    assert done["output"] == 5
    await site.client("signal", key, body=10, entity="Counter", op="add")
    assert await until(lambda: site.entity("Counter", key), lambda value: value == 15) == 15


async def test_signals_of_many_are_all_counted(site: Site) -> None:
    """One entity, twenty signals, one at a time inside."""
    key = fresh_id("counter")
    for _ in range(20):
        await site.client("signal", key, body=1, entity="Counter", op="add")
    assert await until(lambda: site.entity("Counter", key), lambda value: value == 20) == 20


async def test_the_client_waits_for_an_end_or_says_that_there_is_none_yet(site: Site) -> None:
    """202 with the links at its limit; 200 with the output once it ends."""
    one = await site.start("wait_for", 1)
    assert (await site.ask("POST", f"/api/wait/{one}", milliseconds="200"))[0] == 202
    await site.raise_event(one, "go", "now")
    status, output, _ = await site.ask("POST", f"/api/wait/{one}", milliseconds="20000")
    assert (status, output) == (200, ["now"])


async def test_a_large_input_and_output_pass(site: Site) -> None:
    """Six mebibytes, more than gRPC takes by default."""
    text = "x" * (6 * 1024 * 1024)
    one = await site.start("wait_for", 1)
    await site.raise_event(one, "go", text)
    await site.ends(one)
    status, told = await site.client("status", one)
    assert (status, len(told["output"][0])) == (200, len(text))
