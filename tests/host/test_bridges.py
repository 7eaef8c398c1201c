"""The rules of an engine are removed, and no others."""

import pytest

from delivery.host.bridges import Bridge, without

BRIDGES = [Bridge("docker0", ("172.17.0.0/16",)), Bridge("br-1", ("172.18.0.0/16", "fd00::/64"))]
FILTER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -i eth0 -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o br-1 -j DOCKER
-A FORWARD -i br-1 ! -o br-1 -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A DOCKER -d 172.18.0.2/32 ! -i br-1 -o br-1 -p tcp -m tcp --dport 9092 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i br-1 ! -o br-1 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""
NAT = """\
*nat
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.18.0.0/16 ! -o br-1 -j MASQUERADE
-A POSTROUTING -s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 9092 -j MASQUERADE
-A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i br-1 -p tcp -m tcp --dport 9092 -j DNAT --to-destination 172.18.0.2:9092
COMMIT
"""
REMAINING = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD {policy} [0:0]
-A INPUT -i eth0 -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize(("previous", "policy"), [("ACCEPT", "ACCEPT"), ("", "DROP")])
def test_rules_chains_and_policy_are_restored(previous: str, policy: str) -> None:
    assert without(FILTER, BRIDGES, previous) == REMAINING.format(policy=policy)


def test_nat_rules_of_others_stay() -> None:
    assert without(NAT, BRIDGES).splitlines() == [
        "*nat",
        ":POSTROUTING ACCEPT [0:0]",
        "-A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE",
        "COMMIT",
    ]


@pytest.mark.parametrize(
    "rule",
    ["-A FORWARD -o br-other -j DOCKER", "-A DOCKER-USER -s 10.0.0.0/8 -j DROP"],
    ids=["engine", "user"],
)
def test_chains_in_use_stay_with_their_policy(rule: str) -> None:
    remaining = without(FILTER.replace("COMMIT", f"{rule}\nCOMMIT"), BRIDGES, "ACCEPT")
    assert rule in remaining
    assert "-A FORWARD -j DOCKER-USER" in remaining
    assert ":FORWARD DROP [0:0]" in remaining
    assert "br-1" not in remaining


def test_without_rules_of_an_engine_nothing_changes() -> None:
    rules = REMAINING.format(policy="ACCEPT")
    assert without(rules, BRIDGES, "ACCEPT") == rules
