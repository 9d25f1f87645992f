"""(torch) Models that know words: what they make of regions, and of texts where they read any."""
