"""The tables of docs/statistics.md are what `tools.tables` computes."""

import re

import pytest
from tools import tables


def shown(name):
    page = tables.PAGE.read_text("utf-8")
    return re.search(rf"<!-- table {name} -->\n(.*?)\n<!-- end -->", page, re.S)[1]


@pytest.mark.parametrize("name", ["sizes", "wald"])
def test_enumerated_tables_are_in_the_page(name):
    assert shown(name) == getattr(tables, name)()


def test_the_simulated_table_is_in_the_page_within_its_error():
    few, page = ([float(x) for x in re.findall(r"([\d.]+) %", t.split("FAIL", 1)[1])]
                 for t in (tables.monitor(runs=250), shown("monitor")))  # fmt: skip
    assert few == pytest.approx(page, abs=100 * 2.6 * (0.25 / 250) ** 0.5)


def test_a_table_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="'none'"):
        tables.replace_table(tables.PAGE.read_text("utf-8"), "none", "")
