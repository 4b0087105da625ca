"""The sample data: one seed, one file, which the JSON server takes as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from backends.contract.canonical import parse_object
from backends.json_data_file import load, render
from backends.migrate.sample import file_bytes, shop

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "assets" / "data" / "data.json"


def test_the_generator_makes_exactly_the_shipped_file(tmp_path: Path) -> None:
    out = tmp_path / "data.json"
    subprocess.run([sys.executable, "-m", "backends.migrate.sample", str(out)], cwd=ROOT, check=True)
    assert out.read_bytes() == SHIPPED.read_bytes()


def test_another_seed_makes_another_file_and_a_scale_a_larger_one() -> None:
    assert file_bytes(shop(seed=8)) != SHIPPED.read_bytes()
    assert len(shop(scale=2)["orders"]) == 2 * len(shop()["orders"])


def test_loading_and_writing_it_changes_no_byte() -> None:
    loaded = load(SHIPPED)
    rows = {name: list(bodies.values()) for name, bodies in loaded.collections.items() if name}
    assert b"".join(render(loaded.names.items(), rows, loaded.collections[""])) == SHIPPED.read_bytes()


def test_a_client_could_have_written_every_record() -> None:
    loaded = load(SHIPPED)
    bodies = [body for records in loaded.collections.values() for body in records.values()]
    assert len(bodies) > 5000
    for body in bodies:
        parse_object(body)


def test_it_is_of_the_promised_size_and_holds_the_odd_values() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert 2_000_000 < len(text.encode()) < 4_000_000
    assert any(ord(letter) > 0xFFFF for letter in text)
    assert "café" in text
    assert "cafe\u0301" in text
    assert "مرحبا" in text
    seen = list(_scalars(json.loads(text)))
    assert any(isinstance(value, int) and value > 2**64 for value in seen)
    assert {1e-07, 1e22, 5e-324, "", None} <= set(seen)


def test_references_lead_to_records() -> None:
    content = json.loads(SHIPPED.read_bytes())
    ids = {
        name: {record["id"] for record in content[name]}
        for name in ("products", "customers", "stores", "coupons")
    }
    for order in content["orders"]:
        assert order["customer_id"] in ids["customers"]
        assert order["store_id"] in ids["stores"]
        assert order["coupon_id"] is None or order["coupon_id"] in ids["coupons"]
        assert {line["product_id"] for line in order["lines"]} <= ids["products"]


def _scalars(value: Any) -> Any:
    if isinstance(value, dict):
        for item in value.values():
            yield from _scalars(item)
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    else:
        yield value
