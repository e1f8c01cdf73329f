from luperson_jax.serving.gallery_index import Index as Index
from luperson_jax.serving.reid_model import ReidModel as ReidModel
from luperson_jax.serving.reid_model import load as load

__version__: str
