"""Instructions for opening an export in each viewer."""

import shlex
from pathlib import Path

_STEPS = r"""
TensorBoard      tensorboard --logdir {logdir}
                 then open http://localhost:6006/#projector
projector page   open https://projector.tensorflow.org, press Load, choose vectors.tsv, then
                 metadata.tsv, both in {folder}
                 (the data stays on your machine; there are no thumbnails)
  + thumbnails   copy the folder to an https server that allows cross-origin requests, put
                 full URLs into the config, because the page resolves relative ones against
                 its own:
                 sed -i 's#"\([a-z]*[.][tp][sn][vg]\)"#"https://HOST/FOLDER/\1"#' {config}
                 and open https://projector.tensorflow.org/?config={address}
embedding-atlas  pip install embedding-atlas
                 embedding-atlas {parquet} --x pca_x --y pca_y --image image
                 (for a UMAP of the vectors: --vector vector in place of --x and --y)
Spotlight        pip install renumics-spotlight
                 spotlight {parquet}
Latent Scope     pip install latentscope; ls-init ~/latent-scope; ls-serve
                 then open http://localhost:5001 and add {parquet}
your script      import pandas; table = pandas.read_parquet({script_path})
"""


def viewer_steps(folder: Path, logdir: Path) -> str:
    """Returns the commands and steps that open the export in `folder`.

    `logdir` is TensorBoard's --logdir.
    """
    return _STEPS.format(
        logdir=shlex.quote(str(logdir)),
        folder=folder,
        config="projector_config.json",
        address="https%3A%2F%2FHOST%2FFOLDER%2Fprojector_config.json",
        parquet=shlex.quote(str(folder / "embedding.parquet")),
        script_path=repr(str(folder / "embedding.parquet")),
    )
