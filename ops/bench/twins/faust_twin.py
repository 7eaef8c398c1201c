"""async-worker's work with faust-streaming: an agent that takes batches.

`python -m faust_twin worker --without-web` runs it.

Faust acknowledges a batch when the agent takes the next one, and commits offsets by time.
"""
# ruff: noqa: INP001  the image runs it by its name

from __future__ import annotations

import os
from typing import Any

import faust
from sink import BATCH, Sink

app = faust.App(
    os.environ["GROUP_ID"],
    broker=f"kafka://{os.environ['BROKER_URL']}",
    value_serializer="raw",
    consumer_auto_offset_reset="earliest",
    # Faust's own topic for assignments; nothing here needs it.
    topic_disable_leader=True,
    web_enabled=False,
    stream_buffer_maxsize=BATCH * 8,
    datadir="/tmp/faust",  # noqa: S108  a container's own
)
events = app.topic(os.environ["TOPIC"], value_type=bytes, value_serializer="raw")
sink: list[Sink] = []


@app.agent(events)
async def store(stream: Any) -> None:  # noqa: ANN401  faust's streams are untyped
    """Store batches."""
    sink.append(Sink())
    async for values in stream.take(BATCH, within=0.1):
        await sink[0].store(values)


if __name__ == "__main__":
    app.main()
