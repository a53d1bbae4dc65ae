"""Differences between the parameters of experiments."""

from pipeline.report.comparison import differences


def test_only_parameters_that_differ_are_listed_by_their_dotted_names() -> None:
    first = {"space": "darts", "search": {"method": "midas", "epochs": 8}}
    second = {"space": "darts", "search": {"method": "darts", "epochs": 8, "partial": 4}}
    assert differences([first, second]) == [
        ("search.method", ["midas", "darts"]),
        ("search.partial", ["-", "4"]),
    ]


def test_equal_parameters_have_no_differences() -> None:
    assert differences([{"seeds": [0, 1]}, {"seeds": [0, 1]}]) == []
