"""The topics of a measurement: made, filled, counted."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

__all__ = ["PARTITIONS", "end_offset", "events", "fill", "make"]

# aiokafka is imported where it is used: without it `need` reports that it is missing.
PARTITIONS = 3
# A new topic has no leader yet; aiokafka retries, and its warnings say nothing.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())


def make(port: int, topics: Iterable[str]) -> None:
    """Make topics."""
    from aiokafka.admin import (  # type: ignore[import-not-found]  # noqa: PLC0415  as above
        AIOKafkaAdminClient,
        NewTopic,
    )

    async def work() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
        finally:
            await admin.close()

    asyncio.run(work())


def fill(port: int, topic: str, values: Iterable[dict[str, str]]) -> None:
    """Write events and wait until Kafka has all of them."""
    from aiokafka import AIOKafkaProducer  # type: ignore[import-not-found]  # noqa: PLC0415  above

    async def work() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{port}", acks="all", linger_ms=20)
        await producer.start()
        try:
            for number, value in enumerate(values):
                await producer.send(
                    topic,
                    json.dumps(value, separators=(",", ":")).encode(),
                    key=f"component-{number % 97}".encode(),
                    headers=[("kind", b"deployment")],
                )
        finally:
            await producer.stop()

    asyncio.run(work())


def end_offset(port: int, topic: str) -> int:
    """How many messages a topic has ever had."""
    from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: PLC0415  as above

    async def work() -> int:
        consumer = AIOKafkaConsumer(bootstrap_servers=f"127.0.0.1:{port}")
        await consumer.start()
        try:
            ends = await consumer.end_offsets(
                [TopicPartition(topic, number) for number in range(PARTITIONS)]
            )
        finally:
            await consumer.stop()
        return int(sum(ends.values()))

    return asyncio.run(work())


def events(count: int) -> list[dict[str, str]]:
    """Distinct events, as api-rest sends them."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        {
            "id": str(uuid.uuid4()),
            "component": f"component-{number % 97}",
            "version": f"1.{number % 31}.{number}",
            "environment": "production",
            "responsible": "Jane Doe <jane@example.com>",
            "stage": "deploy",
            "status": "succeeded",
            "received_at": (start + timedelta(microseconds=number + 1))
            .isoformat()
            .replace("+00:00", "Z"),
        }
        for number in range(count)
    ]
