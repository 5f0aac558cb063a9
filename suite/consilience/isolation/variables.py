"""Environment variables of workers: an allow-list, so that code from elsewhere sees no secret.

Handed on are the variables of libraries (threads, devices, caches, certificates), never tokens, keys or passwords.
HOME is a folder in the suite's cache and TMPDIR the job's own. ``--pass-env NAME`` hands more on; its value is then an
input of the embedding.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from consilience.cache import cache_dir
from consilience.escaping import looks_secret

#: Names of variables to hand on, comma-separated: what ``--pass-env`` sets.
OPTION_VARIABLE = "CONSILIENCE_PASS_ENV"
_NAMES = frozenset(
    (
        "CC",
        "COLUMNS",
        "CONSILIENCE_CACHE",
        "CURL_CA_BUNDLE",
        "CXX",
        "DYLD_LIBRARY_PATH",
        "ALL_PROXY",
        "HF_HUB_OFFLINE",
        "HF_DATASETS_OFFLINE",
        "HF_ENDPOINT",
        "HF_HUB_CACHE",
        "HF_HUB_DISABLE_TELEMETRY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "HUGGINGFACE_HUB_CACHE",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "LOGNAME",
        "NO_COLOR",
        "NO_PROXY",
        "PATH",
        "PYTHONHASHSEED",
        "PYTHONPATH",
        "PYTHONUTF8",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "SYSTEMROOT",
        "TERM",
        "TOKENIZERS_PARALLELISM",
        "TORCH_HOME",
        "TRANSFORMERS_CACHE",
        "TRANSFORMERS_OFFLINE",
        "TZ",
        "USER",
        "WINDIR",
    )
)
_PREFIXES = (
    "BLIS_",
    "CUBLAS_",
    "CUDA_",
    "CUDNN_",
    "DP_",
    "GOMP_",
    "GOTO_",
    "HIP_",
    "HSA_",
    "JAX_",
    "KMP_",
    "LC_",
    "MALLOC_",
    "MKL_",
    "NCCL_",
    "NUMBA_",
    "NUMEXPR_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "PYTORCH_",
    "ROCR_",
    "SLURM_",
    "TF_",
    "TORCHINDUCTOR_",
    "TORCH_",
    "TRITON_",
    "VECLIB_",
    "XLA_",
)


def passed_names() -> list[str]:
    """Names that the user hands on beyond the allow-list."""
    return [name for name in (one.strip() for one in os.environ.get(OPTION_VARIABLE, "").split(",")) if name]


def passed_digests() -> dict[str, str]:
    """SHA-256 of the value of each variable that the user hands on, by name: inputs of an embedding."""
    return {
        name: hashlib.sha256(os.environ[name].encode("utf-8", "surrogateescape")).hexdigest()
        for name in passed_names()
        if name in os.environ
    }


def home() -> Path:
    """Home folder of workers: what packages store there stays, and nothing of the user's lies in it."""
    return cache_dir() / "home"


def worker_variables(scratch: Path) -> dict[str, str]:
    """Environment of a worker.

    Parameters
    ----------
    scratch
        The job's own folder for temporary files.

    Returns
    -------
    dict
        Variables by name.
    """
    variables = {
        name: value
        for name, value in os.environ.items()
        if (name.upper() in _NAMES or name.startswith(_PREFIXES)) and not looks_secret(name, value)
    }
    variables.setdefault("TOKENIZERS_PARALLELISM", "false")
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    own = home()
    own.mkdir(parents=True, exist_ok=True)
    # Downloads of the hub and of torch are large, and hold no secret; the hub's token lies elsewhere.
    users_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = Path(os.environ["HF_HOME"]) if os.environ.get("HF_HOME") else users_cache / "huggingface"
    variables.setdefault("HF_HUB_CACHE", str(hub / "hub"))
    variables.setdefault("TORCH_HOME", str(users_cache / "torch"))
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    variables |= {"HOME": str(own), "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}
    if os.name == "nt":
        variables["USERPROFILE"] = str(own)
    variables["CONSILIENCE_CACHE"] = str(cache_dir())  # the default follows HOME
    return variables | {name: os.environ[name] for name in passed_names() if name in os.environ}
