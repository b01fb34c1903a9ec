"""The paper, in its order: target, attribution, relevance, regions, stopping, zoom, answer."""
