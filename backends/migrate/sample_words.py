"""The words and the odd values that the sample data is made of.

Each odd value stands for a way in which data was lost or changed on a move (the table "Fidelity" of the research): numbers that a
double rounds, letters that look the same in two spellings, text from right to left, letters beyond 16 bits, keys that
look like numbers, empty against null against missing, and texts that a database would take for dates.
"""

from __future__ import annotations

from typing import Any, Final

DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
STATUSES: Final = ("new", "paid", "packed", "ready", "picked-up", "picked-up", "picked-up", "cancelled")
STORE_KINDS: Final = ("Market", "Kiosk", "Depot", "Corner shop")

CITIES: Final[tuple[tuple[str, str, float, float], ...]] = (
    ("Köln", "DE", 50.93, 6.95),
    ("Zürich", "CH", 47.37, 8.54),
    ("Łódź", "PL", 51.76, 19.45),
    ("São Paulo", "BR", -23.55, -46.63),
    ("Reykjavík", "IS", 64.14, -21.94),
    ("東京", "JP", 35.67, 139.65),
    ("القاهرة", "EG", 30.04, 31.23),
    ("תל אביב", "IL", 32.08, 34.78),
    ("Αθήνα", "GR", 37.98, 23.72),
    ("İstanbul", "TR", 41.0, 28.97),
    ("Hà Nội", "VN", 21.02, 105.83),
    ("Longyearbyen", "SJ", 78.22, 15.65),
)
STREETS: Final = (
    "Hauptstraße",
    "Rue de l’Église",
    "Calle Nueva",
    "O'Connell Street",
    'The "Old" Yard',
    "Back\\slash Lane",
    "شارع النيل",
    "中山路",
)
CATEGORIES: Final = (
    "Bread", "Dairy", "Fruit", "Vegetables", "Drinks", "Household", "Flowers", "Tools", "Rye bread", "Rolls", "Cakes",
    "Cheese", "Milk", "Yoghurt", "Berries", "Citrus", "Roots", "Leaves", "Mushrooms", "Water", "Juice", "Coffee", "Tea",
    "Cleaning", "Paper", "Bouquets", "Potted plants", "Hand tools", "Screws", "Paint",
)  # fmt: skip
ARABIC: Final = ("خبز", "ألبان", "فاكهة", "خضروات", "مشروبات")
ADJECTIVES: Final = (
    "Fresh",
    "Small",
    "Large",
    "Organic",
    "Regional",
    "Crème",
    "Naïve",
    "Süße",
    "Half-price",
    "24/7",
)
GOODS: Final = (
    "Brötchen", "café", "cafe\u0301", "jalapeño", "jalapen\u0303o", "Müsli", "Mu\u0308sli", "smörgås", "dürüm", "phở",
    "寿司", "김치", "баклажан", "חלה", "تمر", "🥐 croissant", "👨‍👩‍👧‍👦 family box", "𝒳-mas cookies", "ﬀ ligature", "\ufffd mystery",
)  # fmt: skip
DESCRIPTIONS: Final = (
    "",
    "Baked this morning.",
    "Two lines:\none and\ttwo, with a tab.",
    "Quotes \"inside\", a \\backslash, a /slash and a \u2028line separator.",
    "<b>not markup</b> & <script>alert('no')</script>",
    "Right to left: مرحبا بالعالم, then left again.",
    "Control \u0001 \u001f and delete \u007f.",
    "{\"looks\": [\"like\", \"json\"]} but is text }]",
    "  blanks at both ends  ",
    "Keeps in the fridge for about three days; once opened, use it within one. Contains traces of nuts, milk and wheat.",
)  # fmt: skip
BIG_NUMBERS: Final = (2**53 + 1, 2**63, 2**64 + 1, 10**30, -(2**53) - 2000)
ODD_FLOATS: Final = (1e-07, 1e22, 0.1, 5e-324, 1.7976931348623157e308, 1.0, 100.0, 0.30000000000000004)
OPTIONS: Final = ("size", "slicing", "gift wrap")
OPTION_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "size": ("S", "M", "L", "XXL"),
    "slicing": ("whole", "in slices", "½"),
    "gift wrap": ("none", "🎁", "paper"),
}
TAGS: Final = ("new", "vegan", "sale", "bio", "Été", "E\u0301te\u0301", "", "null", "true", "0")
ATTRIBUTES: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"10": "ten", "9": "nine", "1": "one", "01": "zero one"},
    {"": "the empty key", " ": "a blank", "a.b": {"c": 1}, "a": {"b": {"c": 2}}},
    {"nested": {"list": [[], [[]], [{}], [None, True, False]], "empty": {}}},
    {"allergens": ["gluten", "milk"], "energy": {"kJ": 1520, "kcal": 363.5}},
    {"__proto__": "a word", "constructor": None, "toString": "x"},
    {"~tilde": 1, "sl/ash": 2, "$dollar": 3, "%percent": 4},
)
DATES: Final = (
    "2026-02-28",
    "2024-02-29T24:00:00Z",
    "2016-12-31T23:59:60Z",
    "2026-03-29T02:30:00+01:00",
    "0001-01-01",
    "12/11/10",
    "20261123",
    None,
)
FIRST_NAMES: Final = (
    "Ada", "Zoë", "Zoe\u0308", "José", "Jose\u0301", "Jürgen", "Nguyễn", "Владимир", "محمد", "נועה", "明", "Søren", "Ólafur", "D’Arcy", "null",
)  # fmt: skip
LAST_NAMES: Final = (
    "Lovelace",
    "O'Brien",
    "Müller",
    "García-López",
    "Иванова",
    "العلي",
    "כהן",
    "王",
    "von der Höhe",
    "Þórsson",
)
NOTES: Final = (
    "",
    "Please ring twice.",
    "Allergic to 🥜!",
    "Comes with a guide dog 🦮 — please let both in.",
    "أرجو الاتصال قبل التسليم",
    "line\r\nbreak",
    "50 % off? → ask",
)
ODD_IDS: Final = (
    "WELCOME",
    "welcome",
    "007",
    "1e3",
    "GRÜN-5",
    "GRU\u0308N-5",
    "with blank",
    "100%",
    "a+b&c=d",
    "😀",
    "null",
    "-1",
)
"""Ids of coupons: texts that a URL must quote, that differ in case or spelling only, or look like numbers."""

SETTINGS: Final[dict[str, Any]] = {
    "shop": {"name": "Turnout Pickup", "motto": "Ordered today, ready today — حاضر 🛍️", "legal": None},
    "is_open": True,
    "currency": "EUR",
    "vat": {"standard": 0.19, "reduced": 0.07},
    "pickup": {"slot_minutes": 15, "days_ahead_max": 14, "closed": ["2026-12-25", "2026-12-26"]},
    "limits": {"lines_max": 40, "order_amount_max": 9007199254740993, "ledger": 18446744073709551617},
    "banners": [],
    "experiments": {},
    "7": "a key that looks like a number",
}
