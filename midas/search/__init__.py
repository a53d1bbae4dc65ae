"""Architecture search: methods, mosaic attention, topology, the supernet and the bilevel loop."""
