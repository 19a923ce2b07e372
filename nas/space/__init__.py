"""Search spaces: their base class, the graphs of cells, and abilities of networks."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.space.base import SearchSpace as SearchSpace
    from nas.space.decisions import Categorical as Categorical
    from nas.space.decisions import Decision as Decision
    from nas.space.decisions import Float as Float
    from nas.space.decisions import Integer as Integer
    from nas.space.decisions import Ordinal as Ordinal
    from nas.space.graph import Edge as Edge
    from nas.space.graph import Graph as Graph
    from nas.space.naming import named as named
    from nas.space.network import SupportsAuxiliaryHead as SupportsAuxiliaryHead
    from nas.space.network import SupportsDropPath as SupportsDropPath
    from nas.space.network import SupportsPretrainedFeatures as SupportsPretrainedFeatures

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("SearchSpace",),
        "decisions": ("Categorical", "Decision", "Float", "Integer", "Ordinal"),
        "graph": ("Edge", "Graph"),
        "naming": ("named",),
        "network": ("SupportsAuxiliaryHead", "SupportsDropPath", "SupportsPretrainedFeatures"),
    },
)
