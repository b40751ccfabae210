"""`make bench`: every measurement that needs no data from elsewhere."""

from tests.benchmarks import data

data.main()
