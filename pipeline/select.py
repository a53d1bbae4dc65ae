"""Stage `select`: the choice among the cells of all seeds. It writes the genotype that every later
stage reads.
"""

from typing import TYPE_CHECKING, Any

from pipeline import paths
from pipeline.summary_table import Fact, Summary

if TYPE_CHECKING:
    from midas.genotype import Genotype


def command() -> Summary:
    """Keep the best cell of all seeds as genotype.json."""
    from midas.data.prepared import load_meta
    from midas.decode.evidence import METRICS, entry_genotype, load_evidence, seed_rows, select
    from midas.io import files
    from midas.search.config import SearchConfig
    from midas.search.run import SEEDS_HEADER, fixed_genotype
    from midas.spaces import get_space
    from pipeline import params, provenance

    space = get_space(params.value("space", str))
    search = params.section("search", SearchConfig)
    fingerprint = load_meta(paths.DATA / "meta.json").fingerprint
    genotype = fixed_genotype(space, search, paths.GENOTYPE)
    if genotype is not None:  # nothing was searched, so there is no evidence
        selected: dict[str, Any] = {"kept_seed": None, "agreement": None, "seeds": []}
        metrics = {"agreement": None, "steps": 0, **dict.fromkeys(METRICS)}
        files.write_text(paths.GENOTYPE / "seeds.csv", SEEDS_HEADER)
        columns: dict[str, Any] = {"fixed": {"cell": genotype.hash[:12], "space": space.name}}
    else:
        seeds = params.value("seeds", params.Seeds)
        entries = [load_evidence(paths.written(paths.decoded(s), f"decode@{s}")) for s in seeds]
        selected = select(entries, params.read().get("decode") or {})
        kept = next(entry for entry in selected["seeds"] if entry["kept"])
        genotype = entry_genotype(kept, space)
        metrics = {"agreement": selected["agreement"], "steps": kept["steps"]}
        metrics |= {name: kept[name] for name in METRICS}
        files.write_csv(paths.GENOTYPE / "seeds.csv", seed_rows(selected, search))
        columns = {f"seed {entry['seed']}": _facts(entry) for entry in selected["seeds"]}
        columns[f"seed {selected['kept_seed']}"]["edges that all seeds share"] = Fact(
            selected["agreement"], ".0%"
        )
    origin = provenance.collect(selected["kept_seed"], fingerprint)
    _write(genotype, selected, metrics, origin)
    return Summary("select", columns, paths.GENOTYPE)


def _write(
    genotype: "Genotype", selected: dict[str, Any], metrics: dict[str, Any], origin: dict[str, Any]
) -> None:
    """The cell, where it comes from, its operations counted, and the evidence."""
    from midas.decode.evidence import operation_counts
    from midas.genotype import save_genotype
    from midas.io import files

    save_genotype(paths.GENOTYPE / "genotype.json", genotype)
    files.write_json(paths.GENOTYPE / "provenance.json", origin)
    files.write_json(paths.GENOTYPE / "select.json", selected)
    files.write_json(paths.GENOTYPE / "metrics.json", metrics)
    files.write_csv(paths.GENOTYPE / "operations.csv", operation_counts(genotype))


def _facts(entry: dict[str, Any]) -> dict[str, Any]:
    """What is shown of one seed."""
    return {
        "sub-network accuracy": Fact(entry["subnetwork_accuracy"], ".1%"),
        "skip connections": entry["skips"],
        "margin": Fact(entry["margin"], ".4f"),
        "score": Fact(entry["score"], ".4f"),
        "kept": "yes" if entry["kept"] else "no",
    }
