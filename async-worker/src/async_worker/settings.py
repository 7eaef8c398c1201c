"""All settings of this app."""

from dataclasses import dataclass

from ledger.app_settings import AppSettings
from ledger.broker_security import BrokerSettings
from ledger.config import OPTIONAL_URL, TEXT, integer, setting
from ledger.database import DatabaseSettings

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings(AppSettings, DatabaseSettings, BrokerSettings):
    """The settings; a field's name in upper case is its environment variable."""

    db_username: str = setting(TEXT, "who writes it; needs to create and alter its tables too")
    topic: str = setting(
        TEXT, "the Kafka topic of the events; made when it is not there", default="deployments"
    )
    dead_letter_topic: str = setting(
        TEXT,
        "where messages go that can never be processed; made too",
        default="deployments.dead-letter",
    )
    topic_partitions: int = setting(
        integer(1, 100), "partitions of the topic when it is made", default="3"
    )
    topic_replication: int = setting(
        integer(1, 9), "replicas of both topics when they are made", default="1"
    )
    group_id: str = setting(TEXT, "the consumer group that shares the work", default="async-worker")
    batch_size: int = setting(
        integer(1, 5000), "messages stored in one transaction at most", default="1000"
    )
    retention_days: int = setting(
        integer(0, 36_500),
        "days to keep events after something else runs in their place; 0: for ever",
        default="0",
    )
    heartbeat_interval: int = setting(
        integer(1, 3600), "seconds between heartbeat events", default="10"
    )
    management_port: int = setting(
        integer(1, 65535), "the port of /health, /ready and /metrics", default="8001"
    )
    webhook_url: str = setting(
        OPTIONAL_URL,
        "who is told when a deployment ends, by a Slack-compatible POST",
        default="",
        secret=True,
    )
