"""Apache Kafka for the tests: one broker in KRaft mode, from its Maven artifacts, on free loopback ports.

The jars are fetched once into `~/.cache/eastwatch/kafka/VERSION` (45 jars, 43 MB) by Maven. A broker named by
`EASTWATCH_TEST_KAFKA` (HOST:PORT) is used instead where there is one.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from tests.support.poll import poll

VERSION = "4.1.0"
CACHE = Path.home() / ".cache" / "eastwatch" / "kafka" / VERSION
START_LIMIT_S = 180
QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
USER, PASSWORD = "ingester", "right-horse"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>eastwatch.tests</groupId><artifactId>broker</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
<version>{VERSION}</version></dependency></dependencies></project>
"""

_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
log.dirs={directory}/log
num.network.threads=2
num.io.threads=2
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=200
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
message.max.bytes=33554432
log.cleaner.enable=false
"""


def missing() -> str:
    """Why no broker can be had here; empty when one can."""
    if os.environ.get("EASTWATCH_TEST_KAFKA"):
        return ""
    if shutil.which("java") is None:
        return "no broker in EASTWATCH_TEST_KAFKA and no java to start one"
    try:
        _jars()
    except (OSError, subprocess.SubprocessError) as error:
        return f"no broker in EASTWATCH_TEST_KAFKA, and its jars cannot be fetched: {error}"
    return ""


def _jars() -> Path:
    if any(CACHE.glob("kafka-server-*.jar")) or any(CACHE.glob("kafka_2.13-*.jar")):
        return CACHE
    if shutil.which("mvn") is None:
        raise FileNotFoundError("Maven is not installed")
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as work:
        (Path(work) / "pom.xml").write_text(_POM)
        jars = Path(work) / "jars"
        command = [
            "mvn",
            "-q",
            "-B",
            "-f",
            f"{work}/pom.xml",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={jars}",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        with contextlib.suppress(OSError):
            jars.rename(CACHE)
    return CACHE


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that were free a moment ago, all different.

    They are below those that outgoing connections get (from 32768 on Linux): none takes one before its server starts.
    """
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 1000):
        if len(found) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


class KafkaBroker:
    """A running broker. `bootstrap` takes anyone; `sasl_bootstrap` wants `USER` and `PASSWORD` (empty if external)."""

    def __init__(self, bootstrap: str, sasl_bootstrap: str, directory: Path | None) -> None:
        self.bootstrap = bootstrap
        self.sasl_bootstrap = sasl_bootstrap
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._watchers: dict[str, KafkaConsumer] = {}

    @property
    def external(self) -> bool:
        """Whether it is not ours to stop."""
        return self._directory is None

    @property
    def pid(self) -> int | None:
        """The broker's process, None when it is external or stopped."""
        return self._process.pid if self._process else None

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called and `start` was not."""
        return self._process is None and not self.external

    def start(self) -> None:
        """Start the process and wait until it answers."""
        assert self._directory is not None
        command = [
            "java",
            "-Xmx512m",
            *QUICK_START,
            f"-Dlog4j2.configurationFile={self._directory}/log4j2.properties",
        ]
        command += ["-cp", f"{CACHE}/*", "kafka.Kafka", f"{self._directory}/server.properties"]
        with (self._directory / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        poll(self._answers, "Kafka broker", START_LIMIT_S, every_s=0.2)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            assert self._directory is not None
            tail = (self._directory / "broker.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"Kafka ended with {self._process.returncode}: {tail}")
        host, port = self.bootstrap.rsplit(":", 1)
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host, int(port))):
                return False
        try:
            with self._admin() as admin:
                return admin.list_topics() is not None
        except (KafkaError, OSError):
            return False

    def stop(self) -> None:
        """End the process."""
        self._forget_watchers()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _forget_watchers(self) -> None:
        for watcher in self._watchers.values():
            watcher.close(autocommit=False)
        self._watchers.clear()

    def restart(self) -> None:
        """Stop and start it on the same ports, with its data."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def _admin(self) -> Iterator[Any]:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=10_000)
        try:
            yield admin
        finally:
            admin.close()

    def topic(self, partitions: int = 1, *, name: str = "", settings: Mapping[str, str] | None = None) -> str:
        """Create a topic and return its name. `settings` are Kafka's for topics."""
        name = name or f"t-{uuid.uuid4().hex[:12]}"
        with self._admin() as admin:
            new = NewTopic(
                name=name, num_partitions=partitions, replication_factor=1, topic_configs=dict(settings or {})
            )
            admin.create_topics([new])
            poll(lambda: name in admin.list_topics(), f"topic {name}")
        return name

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone."""
        with self._admin() as admin:
            admin.delete_topics([name])
            poll(lambda: name not in admin.list_topics(), f"end of topic {name}")

    def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """The group's committed offset."""
        # It asks on behalf of the group and never joins it; kept, because connecting costs more than asking.
        if group not in self._watchers:
            self._watchers[group] = KafkaConsumer(
                bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False, metrics_enabled=False
            )
        return self._watchers[group].committed(TopicPartition(topic, partition))


@contextlib.contextmanager
def kafka_broker(directory: Path) -> Iterator[KafkaBroker]:
    """A broker with its data in `directory`, stopped at the end; or the one of `EASTWATCH_TEST_KAFKA`."""
    if external := os.environ.get("EASTWATCH_TEST_KAFKA"):
        broker = KafkaBroker(external, "", None)
        yield broker
        broker.stop()
        return
    jars = _jars()
    plain, sasl, controller = free_ports(3)
    (directory / "server.properties").write_text(
        _PROPERTIES.format(
            plain=plain, sasl=sasl, controller=controller, directory=directory, user=USER, password=PASSWORD
        )
    )
    (directory / "log4j2.properties").write_text(
        "rootLogger.level=WARN\nrootLogger.appenderRef.out.ref=OUT\n"
        "appender.out.type=Console\nappender.out.name=OUT\nappender.out.layout.type=PatternLayout\n"
        "appender.out.layout.pattern=%d %p %m (%c)%n\n"
    )
    cluster_id = "eastwatchtestsaaaaaaaA"
    command = [
        "java",
        "-Xmx256m",
        *QUICK_START,
        f"-Dlog4j2.configurationFile={directory}/log4j2.properties",
        "-cp",
        f"{jars}/*",
    ]
    command += ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", f"{directory}/server.properties"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    broker = KafkaBroker(f"127.0.0.1:{plain}", f"127.0.0.1:{sasl}", directory)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
