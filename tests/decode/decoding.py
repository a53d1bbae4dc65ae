"""Decoding as the stage `decode` does it, for tests of several rooms."""

from typing import Any

from midas.data.prepared import DataMeta, Split
from midas.decode.config import DecodeConfig
from midas.decode.evidence import evidence, read_supernet
from midas.decode.monitor import search_monitor
from midas.genotype import Genotype
from midas.search.bilevel import BilevelSplit
from midas.search.config import SearchConfig
from midas.search.run import SearchResult, run_search
from midas.spaces.space import Space


def monitored_search(
    space: Space,
    config: SearchConfig,
    train: Split,
    meta: DataMeta,
    seed: int = 0,
    **options: Any,
) -> SearchResult:
    """`run_search` with the columns that the stage `search` adds to the history."""
    monitor = search_monitor(space.without(config.exclude), meta, config)
    return run_search(space, config, train, meta, seed, monitor=monitor, **options)


def decode_search(
    space: Space,
    result: SearchResult,
    search: SearchConfig,
    config: DecodeConfig,
    train: Split,
    meta: DataMeta,
    seed: int = 0,
) -> tuple[Genotype, dict[str, Any]]:
    """A search's cell and its evidence, without proxy trainings."""
    space = space.without(search.exclude)
    half = BilevelSplit(train, search).architecture
    supernet = result.supernet
    method = result.method
    samples, genotype = read_supernet(space, supernet, method, search, config, half, meta)
    entry = evidence(seed, genotype, samples, space, supernet, method, config, half, meta)
    return genotype, entry
