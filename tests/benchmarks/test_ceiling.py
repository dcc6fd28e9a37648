import pytest

from benchmarks import ceiling
from benchmarks.workload import CLASSIFY, MLM
from fedsim.cost.flops import flops
