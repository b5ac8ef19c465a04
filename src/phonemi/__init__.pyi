"""What `__init__.py` gives by name, for type checkers: there it is loaded when it is asked for."""

from phonemi.aggregations import DynamicWeightedSum as DynamicWeightedSum
from phonemi.aggregations import SingleLayer as SingleLayer
from phonemi.aggregations import WeightedSum as WeightedSum
from phonemi.data.manifest import read_manifest as read_manifest
from phonemi.data.mixing import mix_at_snr as mix_at_snr
from phonemi.enhancers.enhancer import Enhancer as Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer as MaskEnhancer
from phonemi.errors import PhonemiError as PhonemiError
from phonemi.information.phones_kept import PhoneJudge as PhoneJudge
from phonemi.inversion.inverter import Inverter as Inverter
from phonemi.probes.layer_probes import LayerProbes as LayerProbes
from phonemi.representations.base import HiddenStates as HiddenStates
from phonemi.representations.names import load_representation as load_representation

__version__: str
