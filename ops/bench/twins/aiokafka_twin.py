"""async-worker's work with aiokafka: getmany, one transaction, then commit."""
# ruff: noqa: INP001  the image runs it by its name

from __future__ import annotations

import os

import uvloop
from aiokafka import AIOKafkaConsumer
from sink import BATCH, Sink


async def main() -> None:
    """Consume for ever."""
    sink = Sink()
    consumer = AIOKafkaConsumer(
        os.environ["TOPIC"],
        bootstrap_servers=os.environ["BROKER_URL"],
        group_id=os.environ["GROUP_ID"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        while True:
            polled = await consumer.getmany(timeout_ms=500, max_records=BATCH)
            if values := [record.value for records in polled.values() for record in records]:
                await sink.store(values)
                await consumer.commit()
    finally:
        await consumer.stop()


if __name__ == "__main__":
    uvloop.run(main())
