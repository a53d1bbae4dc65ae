"""What differs between the parameters of experiments."""

from midas.report.comparison import differences


def test_only_what_differs_is_named_by_its_dotted_name() -> None:
    one = {"space": "darts", "search": {"arm": "midas", "epochs": 8}}
    other = {"space": "darts", "search": {"arm": "darts", "epochs": 8, "partial": 4}}
    assert differences([one, other]) == [("search.arm", ["midas", "darts"]), ("search.partial", ["-", "4"])]


def test_equal_parameters_differ_in_nothing() -> None:
    assert differences([{"seeds": [0, 1]}, {"seeds": [0, 1]}]) == []
