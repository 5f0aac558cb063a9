"""Environment variables of workers: an allow-list, so that code from elsewhere sees no secret.

Handed on are the variables of libraries (threads, devices, caches, certificates), never tokens, keys or passwords; but
the job that fetches weights gets the token of the Hugging Face hub. HOME is a folder in the suite's cache and TMPDIR
the job's own. ``--pass-env NAME`` hands more on; its value is then an input of the embedding.
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
_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")


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


def hub_token() -> str | None:
    """Token of the Hugging Face hub: of the environment, else of the file that ``hf auth login`` writes."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(name, "").strip():
            return os.environ[name].strip()
    path = os.environ.get("HF_TOKEN_PATH") or str(_hub_home() / "token")
    try:
        return Path(path).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _hub_home() -> Path:
    return Path(os.environ["HF_HOME"]) if os.environ.get("HF_HOME") else _users_cache() / "huggingface"


def _users_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def worker_variables(
    scratch: Path, *, network: bool = False, token: bool = False, stranger_home: Path | None = None
) -> dict[str, str]:
    """Environment of a worker.

    Parameters
    ----------
    scratch
        The job's own folder for temporary files.
    network
        Whether the job may use the network: proxies are handed on.
    token
        Whether it gets the token of the Hugging Face hub, by its name.
    stranger_home
        Home of a job in the sandbox, which gets no token and sees no cache of the user's.

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
    if not network:
        variables = {name: value for name, value in variables.items() if name.upper() not in _PROXIES}
    variables.setdefault("TOKENIZERS_PARALLELISM", "false")
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    own = home()
    own.mkdir(parents=True, exist_ok=True)
    if stranger_home is not None:
        own = stranger_home
        own.mkdir(exist_ok=True)
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "TORCH_HOME"):
            variables.pop(name, None)  # they follow its home
    else:
        # Downloads of the hub and of torch are large, and hold no secret; the hub's token lies elsewhere.
        variables.setdefault("HF_HUB_CACHE", str(_hub_home() / "hub"))
        variables.setdefault("TORCH_HOME", str(_users_cache() / "torch"))
        if token and (secret := hub_token()) is not None:
            variables["HF_TOKEN"] = secret
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    variables |= {"HOME": str(own), "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}
    if os.name == "nt":
        variables["USERPROFILE"] = str(own)
    variables["CONSILIENCE_CACHE"] = str(cache_dir())  # the default follows HOME
    return variables | {name: os.environ[name] for name in passed_names() if name in os.environ}
