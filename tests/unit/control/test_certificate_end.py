"""When a certificate ends, as read from its bytes."""

from __future__ import annotations

import datetime
import ssl

import pytest
import trustme

from proxy.tls import ends_wall_s

UTC = datetime.UTC


def pem(ends: datetime.datetime) -> str:
    made = trustme.CA().issue_cert("127.0.0.1", not_after=ends)
    return b"".join(one.bytes() for one in made.cert_chain_pems).decode()


@pytest.mark.parametrize(
    "ends",
    [
        datetime.datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),  # the last that X.509 writes with two digits
        datetime.datetime(2050, 1, 1, tzinfo=UTC),  # the first with four
    ],
)
def test_the_end_is_that_which_the_certificate_says(ends: datetime.datetime):
    assert ends_wall_s(pem(ends)) == ends.timestamp()


def test_it_agrees_with_what_openssl_reads():
    text = pem(datetime.datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC))
    context = ssl.create_default_context(cadata=trustme.CA().cert_pem.bytes().decode())
    for authority in context.get_ca_certs():
        assert ssl.cert_time_to_seconds(str(authority["notAfter"])) == ends_wall_s(
            ssl.DER_cert_to_PEM_cert(context.get_ca_certs(binary_form=True)[0])
        )
    assert ends_wall_s("a remark before it\n" + text) == ends_wall_s(text)


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAA"])
def test_what_holds_no_certificate_is_told(text: str):
    with pytest.raises(ValueError):
        ends_wall_s(text)
