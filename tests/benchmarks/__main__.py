"""`make bench`: every measurement that needs no data from elsewhere and no long time."""

from tests.benchmarks import data, overlap

data.main(large=False)
overlap.main()
