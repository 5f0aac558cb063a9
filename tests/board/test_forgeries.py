"""Forged submissions, each handed in as a publisher receives it: refused, or listed without a rank; honest ones pass.

The whole set takes minutes (``nightly``). What its forgeries have in common is that everything but the rows is in
order: card, identity, checksums, and the scores are those of the forged rows.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from consilience import registry
from consilience.board.findings import Report
from consilience.board.receiving import Rules, Verified, add_submission, verify_submission
from consilience.board.recompute import Recomputation
from consilience.board.submission import Manifest
from consilience.datasets.items import open_dataset
from consilience.embedding.identity import identify
from consilience.embedding.store import Embedding, Store, shipped_with, write_embedding
from consilience.header import Header
from consilience.isolation.environments import python_of
from consilience.records.schema import to_json
from consilience.records.spec import MEASUREMENT_1, Spec, read_spec
from consilience.registry import Target, get_target, load_target_file
from consilience.scoring.scorer import Cell
from consilience.session.runner import Runner

from ..boards import V1_SPEC  # noqa: TID252

Rows = NDArray[np.float64]
#: Models whose embeddings are shipped, by data set.
SHIPPED = {
    "mp-1k": ("chgnet-0.3.0", "diep-fold1", "sevennet-0"),
    "qm9-1k": ("aimnet2-wb97m-d3", "so3lr", "diep-fold1", "chgnet-0.3.0", "sevennet-0"),
    "qm9-isomers-1k": ("so3lr", "aimnet2-wb97m-d3", "sevennet-0"),
    "mp-polymorphs": ("sevennet-0", "chgnet-0.3.0", "diep-fold1"),
    "mof-500": ("diep-fold1", "sevennet-0", "chgnet-0.3.0"),
    "ccd-1k": ("chgnet-0.3.0", "sevennet-0", "diep-fold1"),
    "proteins-500": ("unirep-1900", "proteinmpnn-v-48-020", "foldseek-3di"),
}
TARGET = '''\
"""A model of a stranger."""
from consilience import Card, Embedded, target

CARD = Card(
    name="{name}", family="{name}", modality="{modality}", title="A model", revision="1", parameters=24, layer="last",
    pooling="mean", trained_on=("nothing of this board",), licence_code="MIT", licence_weights="MIT",
    reference="none", source="this file", level_of_theory="none", weights_sha256="{weights}",
)


@target(CARD)
def load(card, weights, device):
    import base64, hashlib
    import numpy as np

    rows = np.frombuffer(base64.b85decode({rows!r}), "<f4").reshape(-1, {width})
    places = {{digest: place for place, digest in enumerate({keys!r}.split())}}

    def key(item):
        text = getattr(item, "sequence", None)
        content = text.encode() if text else item.numbers.tobytes() + item.positions.round(4).tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    def embed(items):
        return Embedded([rows[places[key(one)]] for one in items])

    return embed
'''


# -- disguises -------------------------------------------------------------------------------------------------


def rotation(n: int, rng: np.random.Generator) -> Rows:
    return np.asarray(np.linalg.qr(rng.normal(size=(n, n)))[0])


def scaled(x: Rows) -> Rows:
    return np.asarray((x - x.mean(axis=0)) / x.std())


def noised(share: float) -> Callable[[Rows, Rows, np.random.Generator], Rows]:
    """Add noise of a share of each column's spread, which a few extreme items do not decide."""

    def noise(x: Rows, y: Rows, rng: np.random.Generator) -> Rows:
        low, high = np.quantile(x, [0.16, 0.84], axis=0)
        spread = np.where(high > low, (high - low) / 2, x.std(axis=0))
        return np.asarray(x + share * spread * rng.normal(size=x.shape))

    return noise


def blown_up(x: Rows, y: Rows, rng: np.random.Generator) -> Rows:
    """Multiply the rows of a few items, which then decide each column's mean and deviation."""
    factors = np.where(np.arange(len(x)) % 200 == 7, 1e5, 1.0)
    return x * factors[:, None]


def blended(x: Rows, y: Rows, rng: np.random.Generator) -> Rows:
    """Sums of columns of both."""
    width = max(x.shape[1], y.shape[1])
    return scaled(x) @ rotation(width, rng)[: x.shape[1]] + 0.3 * scaled(y) @ rotation(width, rng)[: y.shape[1]]


def item_by_item(x: Rows, y: Rows, rng: np.random.Generator) -> Rows:
    """Nine items in ten from one model, the others from another."""
    width = max(x.shape[1], y.shape[1])
    one, other = (np.pad(scaled(rows), ((0, 0), (0, width - rows.shape[1]))) for rows in (x, y))
    return np.where(rng.random(len(x))[:, None] < 0.9, one, other)


#: Of the rows, those of another model, and a generator.
DISGUISES: dict[str, Callable[[Rows, Rows, np.random.Generator], Rows]] = {
    "as they are": lambda x, y, rng: x,
    "rotated": lambda x, y, rng: x @ rotation(x.shape[1], rng),
    "scaled": lambda x, y, rng: -3 * x,
    "columns scaled": lambda x, y, rng: x * np.exp(2 * rng.normal(size=x.shape[1])),
    "rotated, columns scaled": lambda x, y, rng: (
        x @ rotation(x.shape[1], rng) * np.exp(2 * rng.normal(size=x.shape[1]))
    ),
    "columns permuted": lambda x, y, rng: x[:, rng.permutation(x.shape[1])],
    "padded with zeros": lambda x, y, rng: np.hstack([x, np.zeros((len(x), 64))]),
    "padded with noise": lambda x, y, rng: np.hstack([x, x.std() * rng.normal(size=(len(x), 32))]),
    "concatenated": lambda x, y, rng: np.hstack([scaled(x), scaled(y)]),
    "hidden beside another": lambda x, y, rng: np.hstack([0.01 * scaled(x), scaled(y)]),
    "concatenated, rotated": lambda x, y, rng: (
        np.hstack([scaled(x), scaled(y)]) @ rotation(x.shape[1] + y.shape[1], rng)
    ),
    "a few items blown up": blown_up,
    "blended": blended,
    "item by item": item_by_item,
    "noise 0.1 %": noised(0.001),
    "noise 1 %": noised(0.01),
    "noise 3 %": noised(0.03),
    "noise 10 %": noised(0.1),
    "noise 10 %, rotated": lambda x, y, rng: noised(0.1)(x, y, rng) @ rotation(x.shape[1], rng),
}
#: What both figures can miss (noise that hides components, and columns that change neighbours): listed, never ranked.
HARD: dict[str, Callable[[Rows, Rows, np.random.Generator], Rows]] = {
    "noise 10 %, concatenated": lambda x, y, rng: np.hstack([scaled(noised(0.1)(x, y, rng)), scaled(y)]),
    "mean of all": lambda x, y, rng: blended(x, y, rng) + blended(y, x, rng),
}
MISSED = {"blended", "item by item"}


# -- submissions -----------------------------------------------------------------------------------------------


def spec() -> Spec:
    """Board v1 with few draws and one metric: what is tested is not how sharp its scores are."""
    whole = read_spec(V1_SPEC)
    measured = MEASUREMENT_1.model_copy(
        update={
            "presets": tuple(one for one in MEASUREMENT_1.presets if one.name == MEASUREMENT_1.ranked),
            "metrics": tuple(one for one in MEASUREMENT_1.metrics if one.name == "cknna"),
            "metrics_of_pairs": (),
        }
    )
    settings = whole.settings.model_copy(update={"permutations": 4, "subsamples": 2})
    return whole.model_copy(update={"schema_version": 2, "settings": settings, "measurement": measured})


def shipped(dataset: str, name: str) -> Embedding:
    found = Store(shipped=shipped_with("v1")).get(identify(get_target(name), open_dataset(dataset)))
    assert found is not None
    return found


def key(item: Any) -> str:
    text = getattr(item, "sequence", None)
    content = text.encode() if text else item.numbers.tobytes() + item.positions.round(4).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def view_of(dataset: str) -> tuple[str, str]:
    return ("protein_structure", "backbone") if dataset == "proteins-500" else ("atoms", "atoms")


@dataclass
class Forger:
    """Makes submissions in which all but the rows is in order.

    Parameters
    ----------
    folder
        Where they lie.
    runner
        Scores the rows.
    """

    folder: Path
    runner: Runner

    def of_rows(
        self, name: str, dataset: str, rows: Rows, *, table: Rows | None = None, reasons: dict[int, str] | None = None
    ) -> Path:
        """Submit rows under a name that is free, with a target file that returns the rows of `table`."""
        modality, view = view_of(dataset)
        features = np.ascontiguousarray(rows, dtype="<f4")
        items = self.runner.items(dataset)
        text = TARGET.format(
            name=name, modality=modality, weights="a" * 64, width=features.shape[1],
            rows=b"" if table is None else base64.b85encode(np.ascontiguousarray(table, dtype="<f4").tobytes()),
            keys="" if table is None else " ".join(map(key, items.view(view))),
        )  # fmt: skip
        path = self.folder / f"target_{name.replace('-', '_')}.py"
        path.write_text(text)
        (target,) = load_target_file(path)
        del registry._targets[name]  # its receiver does not know it
        target = replace(target, card=target.card.model_copy(update={"dimension": features.shape[1]}))
        return self.pack(target, dataset, features, {f"source/{path.name}.txt": text.encode()}, reasons)

    def under_name(self, name: str, dataset: str, rows: Rows) -> Path:
        """Submit rows under the name of a target of the suite."""
        return self.pack(get_target(name), dataset, np.ascontiguousarray(rows, dtype="<f4"), {})

    def pack(
        self, target: Target, dataset: str, features: NDArray[np.float32], source: dict[str, bytes],
        reasons: dict[int, str] | None = None,
    ) -> Path:  # fmt: skip
        items = self.runner.items(dataset)
        identity = identify(target, items)
        provenance = {"identity": identity.__dict__, "packages": [], "seconds": 1.0}
        embedding = Embedding(features, np.full(len(items), np.nan), list(items.ids), reasons or {}, provenance)
        record = self.runner.run(Cell(dataset, target), embedding=embedding)
        assert record.state == "ok", record.reason
        record = record.model_copy(update={"card": target.card})
        file = self.folder / "rows.safetensors"
        write_embedding(file, identity, embedding)
        files = {
            "card.json": to_json(target.card).encode(),
            f"records/{dataset}.json": to_json(record).encode(),
            f"embeddings/{dataset}.safetensors": file.read_bytes(),
            **source,
        }
        manifest = Manifest(
            suite_version="0", board=self.runner.spec.board, target=target.name, created="2026", weights="published",
            trusted=False, datasets=(dataset,), dimension=features.shape[1], packages=(),
            files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        )  # fmt: skip
        output = self.folder / f"{target.name}-{dataset}.zip"
        with zipfile.ZipFile(output, "w") as archive:
            for name, content in {"manifest.json": to_json(manifest).encode(), **files}.items():
                archive.writestr(name, content)
        return output


def verdict(report: Report, cells: list[Verified]) -> str:
    """What becomes of a submission: refused, copy (refused as one), unranked, or ranked."""
    if report.findings or report.not_at_hand:
        copies = [one for one in report.findings if "CKNNA" in one.field]
        return "copy" if copies and len(copies) == len(report.findings) else "refused"
    (cell,) = cells
    assert cell.record.submission is not None
    return "ranked" if cell.record.submission.ranked else "unranked"


def words(report: Report) -> str:
    return "; ".join(f"{one.file}: {one.field}: {one.published} / {one.recomputed}" for one in report.findings)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(spec(), store=Store(tmp_path_factory.mktemp("receiver"), shipped_with("v1")))


@pytest.fixture
def forger(tmp_path: Path, runner: Runner) -> Forger:
    return Forger(tmp_path, runner)


def forgeries(dataset: str, kinds: list[str]) -> list[tuple[str, str, str]]:
    """Of each kind: its name, the model whose rows are taken, and another one."""
    names = SHIPPED[dataset]
    return [(kind, names[i % len(names)], names[(i + 1) % len(names)]) for i, kind in enumerate(kinds)]


def disguised(kind: str, dataset: str, name: str, beside: str) -> Rows:
    x, y = (shipped(dataset, one).features.astype(np.float64) for one in (name, beside))
    return (DISGUISES | HARD)[kind](x, y, np.random.default_rng(len(kind)))


def check(forger: Forger, dataset: str, kinds: list[str], rules: Rules | None = None) -> Counter[str]:
    """Hand in forgeries of some kinds; how many ended how."""
    counts = Counter[str]()
    for number, (kind, name, beside) in enumerate(forgeries(dataset, kinds)):
        rows = disguised(kind, dataset, name, beside)
        submission = forger.of_rows(f"forged-{number}", dataset, rows, table=rows if rules else None)
        report, cells = verify_submission(submission, forger.runner, rules=rules)
        found, what = verdict(report, cells), f"{kind} of {name} on {dataset}"
        assert found in ("copy", "unranked"), f"{what}: {found}: {words(report)}"
        if kind in DISGUISES and kind not in MISSED:
            assert found == "copy", f"{what} is not seen"
        counts[found] += 1
        if found == "unranked":
            counts[f"unranked: {kind}"] += 1
    return counts


@pytest.mark.slow
def test_forged_rows_of_a_few_kinds_have_no_rank(forger: Forger) -> None:
    kinds = [kind for kind in DISGUISES if kind not in MISSED]
    assert check(forger, "mof-500", [*kinds[::2], *HARD])["copy"] >= len(kinds[::2])


@pytest.mark.nightly
@pytest.mark.parametrize("dataset", SHIPPED)
def test_no_forged_rows_have_a_rank(forger: Forger, dataset: str) -> None:
    counts = check(forger, dataset, [*DISGUISES, *HARD])
    print(f"\nforged rows of {dataset}: {counts['copy'] + counts['unranked']}: {dict(counts)}")


@pytest.mark.nightly
def test_copies_that_their_target_file_returns_are_refused(forger: Forger) -> None:
    """Recomputing shows that rows come from the file; a file that holds a copy is found by its likeness alone."""
    kinds = [kind for kind in DISGUISES if kind not in MISSED]
    for dataset in ("mof-500", "proteins-500"):
        counts = check(forger, dataset, kinds, Rules(Recomputation(unconfined=True)))
        assert counts == {"copy": len(kinds)}
        print(f"\nforged target files of {dataset}: {counts['copy']} refused")


@pytest.mark.nightly
def test_rows_that_their_target_file_does_not_return_are_refused(forger: Forger) -> None:
    """Crafted rows, which are like no one model's, under an honest target file."""
    dataset, rng = "mp-1k", np.random.default_rng(5)
    honest = rng.normal(size=(1000, 32))
    for number, kind in enumerate(HARD | dict.fromkeys(MISSED)):
        x, y = (shipped(dataset, one).features.astype(np.float64) for one in SHIPPED[dataset][:2])
        rows = (DISGUISES | HARD)[kind](x, y, rng)[:, :32]
        submission = forger.of_rows(f"crafted-{number}", dataset, rows, table=honest)
        report, _ = verify_submission(submission, forger.runner, rules=Rules(Recomputation(unconfined=True)))
        assert "50 random rows computed again differ" in words(report)


@pytest.mark.nightly
def test_no_forged_rows_stand_under_a_name_of_the_suite(forger: Forger) -> None:
    """Of models whose embedding is here, of twins and baselines, and of models that were never embedded here."""
    count, rng = 0, np.random.default_rng(0)
    for dataset, names in SHIPPED.items():
        for name, beside in zip(names, (*names[1:], names[0]), strict=True):
            own, other = (shipped(dataset, one).features.astype(np.float64) for one in (name, beside))
            turn = rotation(max(own.shape[1], other.shape[1]), rng)[: other.shape[1], : own.shape[1]]
            better = own + 0.1 * own.std() * scaled(other) @ turn
            for rows in (better, own * 1.01, own[::-1]):
                report, cells = verify_submission(forger.under_name(name, dataset, rows), forger.runner)
                assert verdict(report, cells) == "refused"
                assert f"those of {name} here" in words(report)
                count += 1
    rows = shipped("mp-1k", "sevennet-0").features.astype(np.float64)
    for name in ("mace-mp-small", "mattersim-v1-1m", "orb-v2", "sevennet-l3i5"):
        width = get_target(name).card.dimension
        noisy = np.random.default_rng(0).normal(size=(1000, width or 64))
        noisy[:, : min(width or 64, rows.shape[1])] += rows[:, : min(width or 64, rows.shape[1])]
        report, cells = verify_submission(forger.under_name(name, "mp-1k", noisy), forger.runner)
        assert verdict(report, cells) == "refused"
        assert f"no embedding of {name} is here to compare them with" in words(report)
        count += 1
    print(f"\nforged rows under names of the suite: {count}, all refused")


@pytest.mark.nightly
def test_what_is_added_without_a_rank_leaves_the_ranks_of_others(tmp_path: Path, board: Path) -> None:
    def ranks() -> dict[str, int | None]:
        (table,) = json.loads((board / "leaderboard.json").read_text())["datasets"]
        return {row["target"]: row["rank"] for row in table["rows"]}

    forger, before = Forger(tmp_path, Runner(read_spec(board / "spec.toml"))), ranks()
    expected = dict(before)
    for number, kind in enumerate(HARD):
        rows = disguised(kind, "mof-500", "chgnet-0.3.0", "diep-fold1")
        submission = forger.of_rows(f"forged-{number}", "mof-500", rows)
        report = add_submission(submission, board, forger.runner)
        added = not report.findings
        assert added or all("CKNNA" in one.field for one in report.findings), words(report)
        expected |= {f"forged-{number}": None} if added else {}
        assert ranks() == expected


#: Models of families with several members, on data sets that they embed in minutes; the weights come with packages.
SIBLINGS = {
    "mp-1k": (
        "chgnet-0.2.0", "chgnet-r2scan", "sevennet-0-22may2024", "sevennet-mf-0-pbe", "sevennet-mf-0-r2scan",
        "cgcnn-band-gap", "cgcnn-bulk-modulus", "cgcnn-fermi-energy", "cgcnn-final-energy", "cgcnn-formation-energy",
        "cgcnn-shear-modulus", "megnet-band-gap", "megnet-formation-energy", "megnet-bulk-modulus",
    ),
    "qm9-1k": ("ani-1x", "ani-2xt"),
    "proteins-500": (
        "proteinmpnn-v-48-002", "proteinmpnn-v-48-010", "proteinmpnn-v-48-030", "solublempnn-v-48-020", "unirep-64",
        "unirep-256",
    ),
}  # fmt: skip


def siblings_marked(folder: Path, chosen: dict[str, tuple[str, ...]]) -> tuple[list[str], list[str]]:
    """Hand in honest rows under a new name to one who has all others; which were handed in, and which marked."""
    from consilience.embedding.embed import embed

    handed, marked = [], []
    for dataset, names in chosen.items():
        items = open_dataset(dataset)
        found = {name: embed(get_target(name), items, Store(), time_limit=36_000) for name in names}
        for name, own in found.items():
            place = folder / f"{name}-{dataset}"
            store = Store(place / "store")
            for other, embedding in found.items():
                if other != name:
                    store.put(identify(get_target(other), items), embedding)
            forger = Forger(place, Runner(spec(), store=store))
            rows = own.features.astype(np.float64)
            submission = forger.of_rows(f"honest-{len(handed)}", dataset, rows, reasons=own.reasons)
            report, cells = verify_submission(submission, forger.runner)
            what = verdict(report, cells)
            assert what in ("copy", "unranked"), f"{name} on {dataset}: {words(report)}"
            handed.append(name)
            marked += [f"{name} on {dataset}: {words(report)}"] if what == "copy" else []
    return handed, marked


@pytest.mark.nightly
@pytest.mark.environment
def test_honest_siblings_are_not_called_copies(tmp_path: Path) -> None:
    chosen = {
        dataset: tuple(name for name in names if python_of(Header.of(get_target(name).path)) is not None)
        for dataset, names in SIBLINGS.items()
    }
    handed, marked = siblings_marked(tmp_path, chosen)
    print(f"\nhonest siblings: {len(handed)}, {len(marked)} marked: {marked}")
    if len(handed) < 20:
        pytest.skip(f"the environments of {len(handed)} of {sum(map(len, SIBLINGS.values()))} models are built")
    assert len(marked) <= 1
