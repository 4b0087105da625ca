"""The sample data: a shop for picking up orders, made from a seed, the same bytes every time and everywhere.

``python -m backends.migrate.sample OUT`` made assets/data/data.json. The file has the form, and the records have
the bytes, that the JSON server itself writes, so that loading it changes nothing. Odd values are in it on purpose
(backends/migrate/sample_words.py): what breaks a move of data should break here first.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from backends.contract.canonical import encode, encode_record
from backends.json_data_file import render
from backends.migrate import sample_words as words
from backends.migrate.sample_time import Calendar

SEED: Final = 7

Record = dict[str, Any]


def shop(seed: int = SEED, scale: int = 1) -> dict[str, Record | list[Record]]:
    """Every collection and singleton by name, in the file's order. ``scale`` multiplies all but stores and categories."""
    dice = Random(seed)  # noqa: S311 - sample data, not secrets
    times = Calendar(dice)
    stores = [_store(dice, times, number) for number in range(1, 25)]
    categories = [_category(times, number) for number in range(1, 31)]
    products = [_product(dice, times, number, len(categories)) for number in range(1, 600 * scale + 1)]
    customers = [_customer(dice, times, number, len(stores)) for number in range(1, 1200 * scale + 1)]
    coupons = _coupons(dice, times, 60 * scale)
    orders = [
        _order(dice, times, 1000 + number, products, customers, stores, coupons)
        for number in range(1, 3100 * scale + 1)
    ]
    return {
        "stores": stores,
        "categories": categories,
        "products": products,
        "customers": customers,
        "orders": orders,
        "coupons": coupons,
        "returns": [],
        "settings": words.SETTINGS,
    }


def file_bytes(content: Mapping[str, Record | list[Record]]) -> bytes:
    """The whole data.json, as the JSON server would write it."""
    names = [(name, isinstance(value, dict)) for name, value in content.items()]
    rows = {
        name: [encode_record(record["id"], record, record) for record in value]
        for name, value in content.items()
        if isinstance(value, list)
    }
    singletons = {name: encode(value) for name, value in content.items() if isinstance(value, dict)}
    return b"".join(render(names, rows, singletons))


def _store(dice: Random, times: Calendar, number: int) -> Record:
    city, country, latitude, longitude = words.CITIES[(number - 1) % len(words.CITIES)]
    return {
        "id": number,
        "name": f"{words.STORE_KINDS[number % len(words.STORE_KINDS)]} {city}",
        "address": {
            "street": dice.choice(words.STREETS),
            "number": str(dice.randrange(1, 240)),
            "city": city,
            "country": country,
            "floor": None if number % 3 else dice.randrange(-1, 4),
        },
        "location": {
            "latitude": round(latitude + dice.random() / 10, 6),
            "longitude": round(longitude + dice.random() / 10, 6),
        },
        "opening_hours": {
            day: [] if day == "sunday" else [{"from": "08:00", "to": "20:00" if number % 2 else "24:00"}]
            for day in words.DAYS
        },
        "shelves": {str(shelf): {"slots": dice.randrange(4, 40)} for shelf in (10, 9, 1, 2)},
        "phone": f"+{dice.randrange(10**9, 10**12)}",
        "is_open": number != 13,
        **times.stamps(),
    }


def _category(times: Calendar, number: int) -> Record:
    name = words.CATEGORIES[(number - 1) % len(words.CATEGORIES)]
    return {
        "id": number,
        "name": name,
        "slug": name.lower().replace(" ", "-"),
        "parent_id": None if number <= 8 else (number % 8) + 1,
        "labels": {"en": name, "de": None, "ar": words.ARABIC[number % len(words.ARABIC)]},
        "position": number * 10,
        **times.stamps(),
    }


def _product(dice: Random, times: Calendar, number: int, categories: int) -> Record:
    price = dice.randrange(49, 9900)
    return {
        "id": number,
        "name": f"{dice.choice(words.ADJECTIVES)} {dice.choice(words.GOODS)}",
        "description": dice.choice(words.DESCRIPTIONS),
        "category_id": dice.randrange(1, categories + 1),
        "price": {"amount": price, "currency": "EUR", "per_unit": round(price / 7 / 100, 4)},
        "weight_kg": dice.choice(words.ODD_FLOATS) if number % 40 == 0 else round(dice.random() * 12, 3),
        "barcode": dice.randrange(10**12, 10**13),
        "serial": dice.choice(words.BIG_NUMBERS) + number if number % 25 == 0 else None,
        "options": [_option(dice, name) for name in words.OPTIONS[: dice.randrange(0, 4)]],
        "tags": [dice.choice(words.TAGS) for _ in range(dice.randrange(0, 5))],
        "stock": {str(store): dice.randrange(0, 90) for store in sorted(dice.sample(range(1, 25), 3))},
        "attributes": dice.choice(words.ATTRIBUTES),
        "available_from": dice.choice(words.DATES),
        **times.stamps(),
    }


def _option(dice: Random, name: str) -> Record:
    return {
        "name": name,
        "is_required": dice.random() < 0.4,
        "values": [
            {
                "label": label,
                "surcharge": dice.randrange(0, 300),
                "sku": f"{name[:2].upper()}-{place}",
                "note": None,
            }
            for place, label in enumerate(words.OPTION_VALUES[name])
        ],
    }


def _customer(dice: Random, times: Calendar, number: int, stores: int) -> Record:
    first, last = dice.choice(words.FIRST_NAMES), dice.choice(words.LAST_NAMES)
    customer: Record = {
        "id": number,
        "name": f"{first} {last}",
        "email": f"customer{number}@example.com",
        "phone": None if number % 5 == 0 else f"+49{dice.randrange(10**8, 10**9)}",
        "born": dice.choice(words.DATES),
        "preferred_store_id": dice.randrange(1, stores + 1),
        "addresses": [_address(dice) for _ in range(dice.randrange(0, 3))],
        "consents": {"newsletter": dice.random() < 0.3, "sms": None},
        "points": dice.randrange(0, 20_000),
    }
    if number % 7 == 0:
        customer["note"] = dice.choice(words.NOTES)
    return {**customer, **times.stamps()}


def _address(dice: Random) -> Record:
    city, country, _, _ = dice.choice(words.CITIES)
    return {
        "street": dice.choice(words.STREETS),
        "city": city,
        "country": country,
        "extra": dice.choice(("", None)),
    }


def _coupons(dice: Random, times: Calendar, count: int) -> list[Record]:
    ids = [*words.ODD_IDS, *(f"SAVE-{dice.randrange(16**6):06x}-{number}" for number in range(count))][:count]
    return [
        {
            "id": coupon_id,
            "percent": dice.randrange(5, 60) if number % 2 else None,
            "amount": None if number % 2 else dice.randrange(100, 2500),
            "limits": {"per_customer": 1, "total": dice.choice((None, 100, 2**53 + 1, 2**64 + 1))},
            "valid": {"from": "2026-01-01", "until": dice.choice(words.DATES)},
            "categories": sorted(dice.sample(range(1, 31), number % 4)),
            **times.stamps(),
        }
        for number, coupon_id in enumerate(ids)
    ]


def _order(
    dice: Random,
    times: Calendar,
    number: int,
    products: Sequence[Record],
    customers: Sequence[Record],
    stores: Sequence[Record],
    coupons: Sequence[Record],
) -> Record:
    lines = [_line(dice, place, dice.choice(products)) for place in range(1, dice.randrange(1, 5) + 1)]
    order: Record = {
        "id": number,
        "customer_id": dice.choice(customers)["id"],
        "store_id": dice.choice(stores)["id"],
        "status": dice.choice(words.STATUSES),
        "lines": lines,
        "coupon_id": dice.choice(coupons)["id"] if dice.random() < 0.12 else None,
        "total": {"amount": sum(line["amount"] for line in lines), "currency": "EUR"},
        "pickup": {
            "slot": times.slot(),
            "code": f"{dice.randrange(10**4):04d}",
            "shelf": dice.choice((None, "9", "10")),
        },
    }
    if dice.random() < 0.1:
        order["note"] = dice.choice(words.NOTES)
    return {**order, **times.stamps()}


def _line(dice: Random, place: int, product: Record) -> Record:
    quantity = dice.randrange(1, 6)
    return {
        "line": place,
        "product_id": product["id"],
        "name": product["name"],
        "quantity": quantity,
        "amount": quantity * product["price"]["amount"],
        "options": {option["name"]: dice.choice(option["values"])["label"] for option in product["options"]},
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description="Write the sample shop as a data.json, the same bytes for the same seed."
    )
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--scale", type=int, default=1, help="how many times as many products, customers, coupons and orders"
    )
    given = parser.parse_args()
    given.out.write_bytes(file_bytes(shop(given.seed, given.scale)))


if __name__ == "__main__":
    main()
