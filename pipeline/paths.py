"""Where the stages' files lie, relative to the root of the clone; dvc.yaml says the same."""

from pathlib import Path

DATA = Path("artifacts/data")  # train, val and test.safetensors, meta.json, report.json
SEARCH = Path("artifacts/search")  # seed-0/, seed-1/, ...
DECODE = Path("artifacts/decode")  # seed-0/decode.json, ...
GENOTYPE = Path("artifacts/genotype")  # genotype.json, provenance.json, select.json
ANALYSIS = Path("artifacts/analysis")  # analysis.json, its tables, images.safetensors
TRAIN = Path("artifacts/train")  # TARGET/seed-0/, ...
BUILD = Path("artifacts/build")  # one folder a target: its seeds side by side
EVALUATE = Path("artifacts/evaluate")  # one folder a target
COST = Path("artifacts/cost")  # what each stage cost on this machine; not an out of any stage
PLANS = Path("artifacts/plans")  # what `minutes` chose for a target; not an out of any stage
REPORT = Path("report")  # index.html, git-ignored
MODELS = Path("models")  # one deployable folder a target
CHECKPOINTS = Path(".checkpoints")  # git-ignored, outside every stage's outs


def written(path: Path, stage: str = "") -> Path:
    """A file that a stage writes; where it is missing, MidasError says what to run."""
    if path.is_file():
        return path
    from midas.io.errors import MidasError  # here: what starts a stage must not wait for torch

    command = f"dvc repro {stage}".strip()
    raise MidasError(f"{path}: there is no such file; run `{command}` first")


def training(target: str, seed: int) -> Path:
    """The folder of one training."""
    return TRAIN / target / f"seed-{seed}"


def search(seed: int) -> Path:
    """The folder of one search."""
    return SEARCH / f"seed-{seed}"


def decoded(seed: int) -> Path:
    """The evidence for one seed's cell."""
    return DECODE / f"seed-{seed}" / "decode.json"
