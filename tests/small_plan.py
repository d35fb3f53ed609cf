"""A small plan that keeps every check, to be changed in one place by each test."""

from __future__ import annotations

from scalept_lab.config import parse
from scalept_lab.study.plan import Plan

TINY = {
    "scenario": "day", "model": {"width": 128, "depth": 2, "heads": 1}, "tokens": 1000 * 256 * 2048, "batch": 256,
    "layout": {"data": 8}, "curriculum": {"choice": "none", "why": "text as it comes"},
}  # fmt: skip


def plan(**changes) -> Plan:
    return parse(Plan, {**TINY, **changes})
