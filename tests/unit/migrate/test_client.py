"""How the tools read a list of records."""

import pytest

from backends.migrate.client import _listed


@pytest.mark.parametrize("text", ["[]", " [ ]", "[\n]\n"])
def test_a_list_without_records_is_read_as_one(text: str) -> None:
    assert list(_listed(text)) == []


def test_each_record_keeps_its_bytes() -> None:
    text = '[{"id":1,"price":1.50} ,\n {"id":"é","a":[{},"]"]}]'
    assert list(_listed(text)) == [("1", b'{"id":1,"price":1.50}'), ("é", '{"id":"é","a":[{},"]"]}'.encode())]


@pytest.mark.parametrize(
    "text", ["", "{}", "[", "[1]", '[{"id":1}', '[{"id":1}{"id":2}]', '[{"id":1},]', "[{}]"]
)
def test_what_is_no_list_of_records_is_refused(text: str) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        list(_listed(text))
