"""Search strategies, one method a file."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.strategies.base import Strategy as Strategy
    from nas.strategies.base import StrategyFactory as StrategyFactory
    from nas.strategies.base import SupportsPlan as SupportsPlan
    from nas.strategies.bayesian import BayesianOptimization as BayesianOptimization
    from nas.strategies.darts import DARTS as DARTS
    from nas.strategies.drnas import DrNAS as DrNAS
    from nas.strategies.evolution import RegularizedEvolution as RegularizedEvolution
    from nas.strategies.gdas import GDAS as GDAS
    from nas.strategies.grid import GridSearch as GridSearch
    from nas.strategies.local_search import LocalSearch as LocalSearch
    from nas.strategies.lstm_controller import LSTMController as LSTMController
    from nas.strategies.optuna import OptunaSearch as OptunaSearch
    from nas.strategies.pc_darts import PCDARTS as PCDARTS
    from nas.strategies.portfolio import Portfolio as Portfolio
    from nas.strategies.random import RandomSearch as RandomSearch
    from nas.strategies.reinforce import Reinforce as Reinforce

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("Strategy", "StrategyFactory", "SupportsPlan"),
        "bayesian": ("BayesianOptimization",),
        "darts": ("DARTS",),
        "drnas": ("DrNAS",),
        "evolution": ("RegularizedEvolution",),
        "gdas": ("GDAS",),
        "grid": ("GridSearch",),
        "local_search": ("LocalSearch",),
        "lstm_controller": ("LSTMController",),
        "optuna": ("OptunaSearch",),
        "pc_darts": ("PCDARTS",),
        "portfolio": ("Portfolio",),
        "random": ("RandomSearch",),
        "reinforce": ("Reinforce",),
    },
)
