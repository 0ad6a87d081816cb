"""Our list of pure functions against real servers."""

import pytest

from gateway_kernel.parse.sql.functions import PURE, SPECIAL
from tests.support.postgres import Postgres

_ALL = "SELECT DISTINCT proname, provolatile::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND oid < 16384"
_NOT_CALLED = {
    "bernoulli",
    "system",
    "suppress_redundant_updates_trigger",
    "tsvector_update_trigger",
    "tsvector_update_trigger_column",
}

# Volatile for the server, because each call gives something else or tells of now; they still only compute.
VOLATILE = {
    "array_sample", "array_shuffle", "clock_timestamp", "current_query", "gen_random_uuid", "pg_blocking_pids",
    "pg_collation_actual_version", "pg_current_wal_lsn", "pg_database_size", "pg_indexes_size", "pg_is_in_recovery",
    "pg_jit_available", "pg_last_wal_receive_lsn", "pg_last_wal_replay_lsn", "pg_partition_ancestors", "pg_partition_tree",
    "pg_relation_size", "pg_sequence_last_value", "pg_table_size", "pg_tablespace_size", "pg_total_relation_size",
    "pg_xact_status", "random", "random_normal", "timeofday", "txid_status", "uuidv4", "uuidv7",
}  # fmt: skip


def test_every_name_is_a_function_of_some_server(postgres: Postgres, postgres18: Postgres) -> None:
    """A misspelt name would protect nothing and allow nothing."""
    known = {name for server in (postgres, postgres18) for name, _ in server.run(_ALL)}
    keywords = {"current_catalog", "system_user"}
    assert (PURE | SPECIAL.keys()) - known - keywords == set()


def test_nothing_volatile_is_on_the_list_by_accident(postgres: Postgres, postgres18: Postgres) -> None:
    """What the server itself calls volatile is here only if it is listed above, with the reason."""
    volatile = {name for server in (postgres, postgres18) for name, kind in server.run(_ALL) if kind == "v"}
    assert volatile & PURE - _NOT_CALLED == VOLATILE


@pytest.mark.parametrize(
    "name",
    [
        "query_to_xml", "table_to_xml", "cursor_to_xml", "database_to_xml", "schema_to_xml", "ts_stat", "ts_rewrite",
        "pg_input_is_valid", "pg_read_file", "pg_read_binary_file", "pg_ls_dir", "pg_stat_file", "lo_get", "loread", "lo_import",
        "lo_export", "pg_sleep", "pg_terminate_backend", "pg_cancel_backend", "pg_reload_conf", "pg_stat_get_activity",
        "pg_mcv_list_items", "pg_logical_slot_get_changes", "pg_switch_wal", "satisfies_hash_partition", "txid_current",
        "pg_export_snapshot", "pg_create_restore_point", "dblink", "pg_stat_reset", "pg_show_all_file_settings",
    ],
)  # fmt: skip
def test_what_reaches_further_is_not_pure(name: str) -> None:
    """Functions that run what an argument names, or reach files, sessions, statistics and the server itself."""
    assert name not in PURE
