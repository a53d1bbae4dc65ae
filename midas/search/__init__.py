"""Finding: mosaic attention, topology, arms, supernet, bilevel loop, decode."""
