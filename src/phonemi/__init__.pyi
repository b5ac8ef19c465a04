"""What `__init__.py` gives by name, for type checkers: there it is loaded when it is asked for."""

from phonemi.data.manifest import read_manifest as read_manifest
from phonemi.data.mixing import mix_at_snr as mix_at_snr
from phonemi.errors import PhonemiError as PhonemiError
from phonemi.models.aggregation import DynamicWeightedSum as DynamicWeightedSum
from phonemi.models.aggregation import SingleLayer as SingleLayer
from phonemi.models.aggregation import WeightedSum as WeightedSum
from phonemi.models.enhancer import Enhancer as Enhancer
from phonemi.models.mask_enhancer import MaskEnhancer as MaskEnhancer
from phonemi.models.probe import LayerProbes as LayerProbes
from phonemi.models.representations import HiddenStates as HiddenStates
from phonemi.models.representations import load_representation as load_representation

__version__: str
