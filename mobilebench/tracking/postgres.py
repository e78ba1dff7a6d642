"""A PostgreSQL cluster of one's own, from a local installation: made, started and stopped without a system service."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mobilebench.errors import UserError

USER = "mlflow"
_INSTALLED = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")


class PostgresError(UserError):
    """PostgreSQL is not installed or does not start; the message says what it said."""


def binaries() -> Path:
    """Return the folder of `initdb` and `pg_ctl`, the newest installed. Raises PostgresError when there is none."""
    found = shutil.which("initdb")
    if found and shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    folders = [folder for pattern in _INSTALLED for folder in Path("/").glob(pattern.lstrip("/"))]
    whole = [folder for folder in folders if (folder / "initdb").exists()]
    if not whole:
        raise PostgresError(
            "PostgreSQL's server is not installed here: install it (apt-get install postgresql), or name a database "
            "with --database"
        )
    return max(whole, key=lambda folder: [int(part) for part in folder.parent.name.split(".") if part.isdigit()])


@dataclass(frozen=True)
class Cluster:
    """A cluster in `folder`, listening on 127.0.0.1 only, with one user and its password."""

    folder: Path
    password: str
    port: int

    def url(self, database: str) -> str:
        """Return the address of a database, with the password in it."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        """Create the cluster if it is not there yet."""
        if (self.folder / "PG_VERSION").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        _give(self.folder)
        secret = self.folder.with_name(f"{self.folder.name}.password")
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        _give(secret)
        try:
            options = ("--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--username={USER}")
            _run("initdb", "-D", str(self.folder), f"--pwfile={secret}", *options)
        finally:
            secret.unlink()

    def start(self) -> None:
        """Start it and wait until it answers; nothing when it runs already."""
        if self.is_running():
            return
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        log = self.folder / "server.log"
        _run("pg_ctl", "-D", str(self.folder), "-w", "-t", "60", "-l", str(log), "-o", options, "start")

    def stop(self) -> None:
        """Stop it; open connections are cut."""
        if self.is_running():
            _run("pg_ctl", "-D", str(self.folder), "-w", "-m", "fast", "stop")

    def is_running(self) -> bool:
        """Return whether its server process lives."""
        return _call("pg_ctl", "-D", str(self.folder), "status")[0] == 0

    def create(self, *databases: str) -> None:
        """Create the databases that are not there yet."""
        import psycopg
        from psycopg.sql import SQL, Identifier

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            there = {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database")}
            for name in set(databases) - there:
                connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(program: str, *arguments: str) -> None:
    status, output = _call(program, *arguments)
    if status:
        raise PostgresError(f"{program} ended with {status}: {output.strip()[-500:]}")


def _call(program: str, *arguments: str) -> tuple[int, str]:
    command = [str(binaries() / program), *arguments]
    with tempfile.TemporaryFile("w+") as output:  # no pipe: the server that pg_ctl leaves behind would keep it open
        done = subprocess.run(  # noqa: S603 - our own words
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, cwd="/", user=_owner()
        )
        output.seek(0)
        return done.returncode, output.read()


def _owner() -> str | None:
    """Return the user to run as: PostgreSQL refuses root, whose stand-in is the user its packages make."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise PostgresError(
            "PostgreSQL refuses to run as root and there is no user postgres; be another user"
        ) from None


def _give(path: Path) -> None:
    owner = _owner()
    if owner is not None:
        shutil.chown(path, owner)
