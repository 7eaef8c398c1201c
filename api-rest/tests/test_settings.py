from collections.abc import Callable
from pathlib import Path

import pytest
from api_rest.settings import Settings
from ledger.config import SettingsError, reference

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_lists_every_setting() -> None:
    assert reference(Settings) in README.read_text(encoding="utf-8")


def test_the_defaults_are_valid(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    assert (settings.broker_url, settings.db_port, settings.http_port) == (
        ("kafka.invalid:9092",),
        3306,
        8000,
    )


def test_the_largest_body_fits_into_one_kafka_message(
    make_settings: Callable[..., Settings],
) -> None:
    assert make_settings(MAX_BODY_BYTES="900000").max_body_bytes < 1_000_000


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"PROTECT_READS": "true"}, "PROTECT_READS: it needs a TOKENS_FILE"),
        ({"USER_HEADER": "X-User"}, "USER_HEADER: it needs TRUSTED_PROXIES"),
        *(
            (
                {"USER_HEADER": "X-User", "TRUSTED_PROXIES": everybody},
                "USER_HEADER: it needs TRUSTED_PROXIES",
            )
            for everybody in ("*", "10.0.0.0/8 0.0.0.0/0", "::/0")
        ),
        ({"USER_HEADER": "X_User", "TRUSTED_PROXIES": "::1"}, "USER_HEADER: it must be letters"),
        ({"USER_HEADER": "X-User", "TRUSTED_PROXIES": "nowhere"}, "TRUSTED_PROXIES: "),
        ({"BROKER_USERNAME": "me"}, "BROKER_USERNAME"),
    ],
)
def test_settings_that_contradict_each_other_are_problems(
    make_settings: Callable[..., Settings], changes: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(**changes)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)
