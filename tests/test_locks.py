"""Locks of this user's runs."""

import threading

from delivery import locks


def test_the_second_holder_of_a_lock_waits() -> None:
    order: list[str] = []

    def second() -> None:
        with locks.hold("name"):
            order.append("second")

    with locks.hold("name"):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.3)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
