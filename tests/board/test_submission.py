"""Submissions: packed, spoilt in every way there is, received, and put on a real board."""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from consilience import registry
from consilience.board.cells import target_of
from consilience.board.findings import Report
from consilience.board.groups import read_pairs
from consilience.board.packing import complete_card, pack
from consilience.board.receiving import Rules, verify_submission
from consilience.board.submission import read_archive
from consilience.board.verify import verify_board
from consilience.cli import main
from consilience.embedding.identity import Identity, identify
from consilience.embedding.store import Embedding, Store, parse_embedding, shipped_with, write_embedding
from consilience.records.migrations import parse_record, read_record
from consilience.records.record import Submission
from consilience.records.schema import to_json
from consilience.records.spec import read_spec
from consilience.registry import get_target, load_target_file
from consilience.scoring.scorer import Cell
from consilience.session.runner import Runner

TARGET = '''\
"""A histogram of distances; where it is imported, it leaves a file behind."""
from pathlib import Path
import numpy as np
from consilience import Card, Embedded, target

Path(__file__).with_suffix(".ran").touch()
{extra}

@target(
    Card(
        name="{name}", family="{name}", modality="atoms", title="Distances", revision="1", parameters=24, layer="bins",
        pooling="mean", trained_on=("ODAC23",), licence_code="MIT", licence_weights="{licence}", reference="none",
        source="this file", weights_sha256="{weights}"
    )
)
def load(card, weights, device):
    def embed(items):
        return Embedded([np.histogram(a.get_all_distances(mic=True), 24, (0.5, 8))[0] / len(a) ** 2 for a in items])

    return embed
'''
DATASET = "mof-500"


def write(folder: Path, name: str, *, licence: str = "MIT", weights: str = "a" * 64, extra: str = "") -> Path:
    path = folder / f"target_{name}.py"
    path.write_text(TARGET.format(name=name, licence=licence, weights=weights, extra=extra))
    return path


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, made_board: Path) -> Iterator[Path]:
    """A submission as its author packs it; afterwards the author's target is unknown, as it is to a receiver."""
    folder = tmp_path_factory.mktemp("author")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONSILIENCE_CACHE", str(folder / "cache"))
        target = write(folder, "distances")
        arguments = ["submit", str(target), "--board", str(made_board), "--output", str(folder / "distances.zip")]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert "missing" not in result.output
        assert target.with_suffix(".ran").exists()
        target.with_suffix(".ran").unlink()
        del registry._targets["distances"]
    yield folder / "distances.zip"
    assert not target.with_suffix(".ran").exists(), "the receiver ran the author's file"


@pytest.fixture(scope="module")
def runner(made_board: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The receiver's: it prepares its references once for all tests."""
    store = Store(tmp_path_factory.mktemp("receiver"), shipped_with("v1"))
    return Runner(read_spec(made_board / "spec.toml"), store=store)


def spoil(packed: Path, folder: Path, change: Callable[[dict[str, bytes]], None], *, sign: bool = True) -> Path:
    """Change an archive's files; with `sign`, the manifest states the new hashes."""
    files = read_archive(packed)
    change(files)
    if sign and "manifest.json" in files:
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = {
            name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "manifest.json"
        }
        files["manifest.json"] = json.dumps(manifest).encode()
    path = folder / "spoilt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def of_json(name: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def changed(files: dict[str, bytes]) -> None:
        content = json.loads(files[name])
        change(content)
        files[name] = json.dumps(content).encode()

    return changed


def of_embedding(
    change: Callable[[Embedding], Embedding], identity: Callable[[Identity], Identity] = lambda one: one
) -> Callable[[dict[str, bytes]], None]:
    """Change an embedding and write it soundly, checksum and all."""

    def changed(files: dict[str, bytes]) -> None:
        name = f"embeddings/{DATASET}.safetensors"
        found, embedding = parse_embedding(files[name])
        new = identity(found)
        embedding = change(embedding)
        embedding.provenance["identity"] = new.__dict__
        with TemporaryDirectory() as folder:
            path = Path(folder) / "changed.safetensors"
            write_embedding(path, new, embedding)
            files[name] = path.read_bytes()

    return changed


def told(report: Report) -> str:
    return "\n".join(f"{one.file}: {one.field}: {one.published} / {one.recomputed}" for one in report.findings)


def test_a_submission_is_whole(packed: Path) -> None:
    files = read_archive(packed)
    assert set(files) == {
        "manifest.json", "card.json", f"records/{DATASET}.json", f"embeddings/{DATASET}.safetensors",
        "source/target_distances.py.txt",
    }  # fmt: skip
    manifest = json.loads(files["manifest.json"])
    assert manifest["board"] == "v1"
    assert manifest["target"] == "distances"
    assert manifest["files"].keys() == set(files) - {"manifest.json"}
    assert json.loads(files["card.json"])["dimension"] == 24, "measured, where the card leaves it open"


@pytest.mark.slow
def test_it_is_verified_and_added_with_the_receivers_scores(packed: Path, board: Path) -> None:
    before = {path.name for path in (board / "results" / DATASET).iterdir()}
    result = CliRunner().invoke(main, ["leaderboard", "add", str(board), str(packed)])
    assert result.exit_code == 0, result.output
    assert "0 findings" in result.output
    assert "in distribution for distances" in result.output
    path = board / "results" / DATASET / "distances.json"
    assert {path.name for path in (board / "results" / DATASET).iterdir()} == before | {"distances.json"}
    record = read_record(path)
    assert record.provenance is not None
    sent = json.loads(read_archive(packed)[f"records/{DATASET}.json"])
    assert record.card.dimension == 24
    assert record.scores["paper"].cknna == pytest.approx(sent["scores"]["paper"]["cknna"], abs=1e-5)
    row = next(r for r in json.loads((board / "leaderboard.json").read_text())["datasets"][0]["rows"]
               if r["target"] == "distances")  # fmt: skip
    assert row["rank"] is None, "nobody but its submitter has computed the rows"
    assert row["reason"] == "rows from the submitter"
    assert "| rows from the submitter |" in (board / "leaderboard.md").read_text()
    assert json.loads(path.read_text())["schema_version"] == 1
    assert record.submission == Submission()
    pairs = {pair.second if pair.first == "distances" else pair.first: pair
             for pair in read_pairs(board, DATASET).pairs if "distances" in (pair.first, pair.second)}  # fmt: skip
    reference = pairs["chgnet-0.3.0"].scores["beyond_composition"]
    scored = record.scores["beyond_composition"].pairs["chgnet-0.3.0"]
    assert reference.cknna == pytest.approx(scored.cknna, abs=1e-6)
    assert reference.metrics["cka"] == pytest.approx(scored.metrics["cka"], abs=1e-5)
    # The board can be verified by anybody from then on: the embedding lies in its folder.
    report = verify_board(board)
    assert told(report) == ""
    assert report.recomputed == 8
    embedded = board / "embeddings" / DATASET / "distances.safetensors.gz"
    embedded.unlink()
    assert "results/mof-500/distances.json: target: distances" in told(verify_board(board))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sign", "finding"),
    [
        pytest.param(
            of_json(f"records/{DATASET}.json", lambda c: c["scores"]["paper"]["alignment"].update(value=0.9)),
            True, f"records/{DATASET}.json: scores.paper.alignment.value: 0.9 /", id="score",
        ),
        pytest.param(
            of_json(f"records/{DATASET}.json", lambda c: c.update(coverage=0.5)),
            False, f"manifest.json: files.records/{DATASET}.json", id="hash",
        ),
        pytest.param(
            of_json(f"records/{DATASET}.json", lambda c: c["provenance"]["settings"].update(k=10)),
            True, "provenance.settings.k: 10 / 25", id="settings",
        ),
        pytest.param(
            of_json(f"records/{DATASET}.json", lambda c: c.update(schema_version=3)),
            True, "written by a newer consilience", id="newer record",
        ),
        pytest.param(
            of_json("manifest.json", lambda c: c.update(schema_version=2)),
            True, "written by a newer consilience", id="newer manifest",
        ),
        pytest.param(of_json("manifest.json", lambda c: c.update(board="v2")), True, "board: v2 / v1", id="board"),
        pytest.param(
            of_json("manifest.json", lambda c: c.update(datasets=["qm8"])), True, "datasets: qm8", id="data set"
        ),
        pytest.param(
            of_json(f"records/{DATASET}.json", lambda c: c["card"].update(licence_weights="unknown")),
            True, "licence_weights / known licences", id="licence",
        ),
        pytest.param(
            of_json("manifest.json", lambda c: c.update(datasets=[])), True, "one at least with a score", id="nothing"
        ),
        pytest.param(
            of_json(f"records/{DATASET}.json", lambda c: c.update(target="distances@untrained")),
            True, "untrained twins are controls", id="twin",
        ),
        pytest.param(
            of_json(f"records/{DATASET}.json", lambda c: c.update(state="failed", reason="no luck")),
            True, "failed: no luck", id="failed",
        ),
        pytest.param(
            of_json("card.json", lambda c: c.update(trained_on=[])), True, "card.json: trained_on", id="card"
        ),
        pytest.param(
            of_json(f"records/{DATASET}.json", lambda c: c.update(target="../distances")),
            True, "is not one of the card", id="path as a target",
        ),
        pytest.param(lambda f: f.pop(f"embeddings/{DATASET}.safetensors"), True, "missing / a sound", id="no rows"),
        pytest.param(
            lambda f: f.update({f"embeddings/{DATASET}.safetensors": pickle.dumps([1, 2])}),
            True, "not an embedding as this suite writes it", id="pickle",
        ),
        pytest.param(
            of_embedding(lambda e: replace(e, features=e.features[:, ::-1] * np.linspace(1, 9, 24, dtype="f4") ** 2)),
            True, f"records/{DATASET}.json: scores.paper", id="other rows",
        ),
        pytest.param(
            of_embedding(lambda e: replace(e, features=e.features.astype("f8"))), True, "float64", id="type"
        ),
        pytest.param(
            of_embedding(lambda e: replace(e, features=e.features[:-1])), True, "not float32 (500, d)", id="shape"
        ),
        pytest.param(
            of_embedding(lambda e: replace(e, features=np.where(e.features > 0, e.features, np.float32(np.inf)))),
            True, "is infinite", id="infinite",
        ),
        pytest.param(of_embedding(lambda e: replace(e, ids=e.ids[::-1])), True, "ids are not those", id="ids"),
        pytest.param(
            of_embedding(lambda e: e, lambda i: replace(i, weights="sha256:" + "b" * 64)),
            True, "identity.weights: sha256:bbb", id="weights",
        ),
    ],
)  # fmt: skip
def test_what_was_spoilt_is_found(
    packed: Path, tmp_path: Path, runner: Runner, change: Callable[[dict[str, bytes]], None], sign: bool, finding: str
) -> None:
    report, _ = verify_submission(spoil(packed, tmp_path, change, sign=sign), runner)
    assert finding in told(report)


def test_nothing_is_added_where_anything_was_found(packed: Path, tmp_path: Path, board: Path) -> None:
    before = {path: path.read_bytes() for path in board.rglob("*") if path.is_file()}
    change = of_json(f"records/{DATASET}.json", lambda c: c.update(revision="0" * 64))
    result = CliRunner().invoke(main, ["leaderboard", "add", str(board), str(spoil(packed, tmp_path, change))])
    assert result.exit_code == 1
    assert "not added" in result.output
    assert {path: path.read_bytes() for path in board.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("scale", [1.0, -3.0])
def test_a_copy_is_called_one(packed: Path, tmp_path: Path, runner: Runner, scale: float) -> None:
    """SevenNet's shipped rows under another name; turned over and scaled, a reference's still give themselves away."""
    source = get_target("sevennet-0" if scale == 1 else "diep-fold1")
    shipped = Store(tmp_path, shipped_with("v1")).get(identify(source, runner.items(DATASET)))
    assert shipped is not None
    rows = (shipped.features * np.float32(scale))[:, ::-1] if scale != 1 else shipped.features
    path = spoil(packed, tmp_path, of_embedding(lambda e: replace(e, features=np.ascontiguousarray(rows))))
    if scale != 1:  # the copyist scores what he sends
        record = parse_record(read_archive(packed)[f"records/{DATASET}.json"], "")
        embedding = parse_embedding(read_archive(path)[f"embeddings/{DATASET}.safetensors"])[1]
        text = to_json(runner.run(Cell(DATASET, target_of(record)), embedding=embedding)).encode()
        path = spoil(path, tmp_path, lambda f: f.update({f"records/{DATASET}.json": text}))
    report, _ = verify_submission(path, runner)
    assert f"those of {source.name} / a target's own" in told(report)


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("../../outside.json", 10, "which no submission does"),
        ("/etc/passwd", 10, "which no submission does"),
        ("records/..\\x.json", 10, "which no submission does"),
        ("weights.pkl", 10, "which no submission does"),
        ("records/qm9-1k.json", 2**24 + 1, "at most 16,777,216 are taken"),
    ],
)
def test_an_archive_holds_nothing_else(packed: Path, tmp_path: Path, name: str, size: int, reason: str) -> None:
    with zipfile.ZipFile(path := tmp_path / "odd.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for one, content in read_archive(packed).items():
            archive.writestr(one, content)
        archive.writestr(name, bytes(size))
    with pytest.raises(ValueError, match=reason):
        read_archive(path)
    result = CliRunner().invoke(main, ["verify", str(path)])
    assert result.exit_code == 1
    assert not (tmp_path.parent / "outside.json").exists()


def test_a_file_that_is_no_archive_or_half_of_one_is_refused(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"PK no")
    (tmp_path / "half.zip").write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    content = bytearray(packed.read_bytes())
    content[5000] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(bytes(content))
    for name in ("no", "half", "flipped"):
        with pytest.raises(ValueError, match="not a whole zip file"):
            read_archive(tmp_path / f"{name}.zip")


def test_the_checklist_says_why_not(tmp_path: Path, made_board: Path, own_cache: Path, runner: Runner) -> None:
    def missing(target: registry.Target, **options: Any) -> dict[str, str]:
        checks = pack(target, options.pop("runner", runner), tmp_path / "no.zip", board=made_board, **options)
        assert not (tmp_path / "no.zip").exists()
        return {check.what: check.missing for check in checks if check.missing}

    (target,) = load_target_file(write(tmp_path, "unlicensed", licence="unknown"))
    found = missing(target)
    assert found.keys() == {"known licences", "scored on mof-500"}
    assert found["known licences"] == "licence_weights"
    bare = replace(target, card=target.card.model_copy(update={"trained_on": None, "licence_weights": "MIT"}))
    assert missing(bare)["a card with all that a board states"] == "trained_on"
    page = replace(target, card=target.card.model_copy(update={"title": "Best | <script>"}))
    assert "<script>" in missing(page)["plain text on the board"]
    taken = replace(target, card=target.card.model_copy(update={"name": "sevennet-0"}))
    assert missing(taken)["a name that is free"] == "sevennet-0 is on the board with another card or other weights"
    assert "untrained twins are controls" in missing(get_target("chgnet-0.3.0@untrained"))["a name for a board"]
    assert missing(target, runner=Runner(runner.spec, limit=60))["whole data sets"] == "a sample of 60 items"
    (fails,) = load_target_file(write(tmp_path, "fails", extra="import sys\nassert 'worker' not in str(sys.argv)"))
    assert missing(fails)["scored on mof-500"].startswith("failed: ")


def test_a_checkpoint_is_told_by_a_card_of_its_own(tmp_path: Path) -> None:
    weights = tmp_path / "Mine (2).pth"
    content = pickle.dumps({"model_state_dict": {}})
    weights.write_bytes(content)
    target = get_target("sevennet-0").from_checkpoint(weights)
    card = tmp_path / "card.toml"
    card.write_text('trained_on = ["MPtrj"]\nlicence_weights = "CC-BY-4.0"\nrevision = "3"\nparameters = 842440\n')
    complete = complete_card(target, card)
    assert complete.card.missing_for_publication() == ["dimension"], "which is measured"
    assert complete.card.weights_sha256 == hashlib.sha256(content).hexdigest()
    assert complete.card.family == "sevennet"
    assert complete.name == "sevennet-0@mine-2"
    card.write_text('family = "another"\n')
    with pytest.raises(ValueError, match=r"card.toml: 'family': a checkpoint is told by title"):
        complete_card(target, card)
    for text in ("x =", "revision = 3", 'trained_on = "MPtrj"', "a = " + "[" * 10_000, "parameters = 1979-05-27"):
        card.write_text(text)
        with pytest.raises(ValueError, match=r"card\.toml: "):
            complete_card(target, card)
    card.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"card\.toml: "):
        complete_card(target, card)
    with pytest.raises(ValueError, match="--card describes a checkpoint"):
        complete_card(get_target("size"), card)


@pytest.mark.slow
def test_a_rank_needs_rows_that_the_publisher_computed(
    packed: Path, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = ["leaderboard", "add", str(board), str(packed)]
    with monkeypatch.context() as patch:  # of a machine that has none
        patch.setattr("consilience.isolation.sandbox.probe", lambda: "none")
        refused = CliRunner().invoke(main, [*add, "--recompute"])
    assert refused.exit_code == 1
    assert "computing rows again runs the submitter's code" in refused.output
    taken = CliRunner().invoke(main, [*add, "--recompute", "--no-sandbox"])
    assert taken.exit_code == 0, taken.output
    record = read_record(board / "results" / DATASET / "distances.json")
    assert record.submission is not None
    assert record.submission.recomputed == 50
    assert record.submission.sandbox == "none"
    rows = {row["target"]: row for row in json.loads((board / "leaderboard.json").read_text())["datasets"][0]["rows"]}
    assert rows["distances"]["rank"] is not None
    assert rows["distances"]["reason"] == "50 items recomputed without a sandbox"
    # The same rows again are those of the board; other rows under this name are refused.
    assert verify_submission(packed, Runner(read_spec(board / "spec.toml")), board=board)[0].findings == []


@pytest.mark.slow
def test_what_a_submitter_says_of_himself_is_no_evidence(packed: Path, tmp_path: Path, runner: Runner) -> None:
    """Statements of a publisher, an identity of other code, and no target file at all."""
    name = f"records/{DATASET}.json"
    ranked = {"recomputed": 500, "deviation": 0.0, "sandbox": None, "trusted": False, "copy_of": None}
    for change, finding in (
        (of_json(name, lambda c: c.update(schema_version=2, submission=ranked)), "stated by the publisher of a board"),
        (of_json(name, lambda c: c["provenance"]["embedding"].update(submission=ranked)), "embedding.submission"),
        (of_embedding(lambda e: e, lambda i: replace(i, code="0" * 64)), "identity.code: 000"),
        (of_embedding(lambda e: e, lambda i: replace(i, environment="0" * 64)), "identity.environment: 000"),
        (of_embedding(lambda e: e, lambda i: replace(i, items="0" * 64)), "identity.items: 000"),
        (lambda files: files.pop("source/target_distances.py.txt"), "source: : missing / the target file"),
    ):  # fmt: skip
        report, _ = verify_submission(spoil(packed, tmp_path, change), runner)
        assert finding in told(report)


def test_an_archive_is_no_larger_than_its_manifest_needs(packed: Path, tmp_path: Path, runner: Runner) -> None:
    def inflate(files: dict[str, bytes]) -> None:
        files[f"embeddings/{DATASET}.safetensors"] += bytes(4_000_000)

    report, _ = verify_submission(spoil(packed, tmp_path, inflate), runner)
    assert "500 items with 24 columns need at most" in told(report)
    extra = spoil(packed, tmp_path, lambda files: files.update({"embeddings/qm9-1k.safetensors": b""}))
    report, _ = verify_submission(extra, runner)
    assert "of a data set that its manifest does not name" in told(report)
    wide = spoil(packed, tmp_path, of_json("manifest.json", lambda c: c.update(dimension=10**6)))
    report, _ = verify_submission(wide, runner)
    assert "dimension" in told(report)


@pytest.mark.slow
def test_rows_under_a_known_name_are_compared_with_those_known(
    packed: Path, tmp_path: Path, runner: Runner, made_board: Path
) -> None:
    """A stranger's rows under a reference's name; and where nothing is here to compare with."""
    target, items = get_target("sevennet-0"), runner.items(DATASET)
    identity = identify(target, items)
    known = runner.store.get(identity)
    assert known is not None
    noisy = known.features + 0.1 * known.features.std() * np.random.default_rng(0).normal(size=known.features.shape)

    def submission(features: Any) -> Path:
        embedding = replace(known, features=np.asarray(features, np.float32))
        record = runner.run(Cell(DATASET, target), embedding=embedding)
        card = json.loads(to_json(target.card))
        text = json.loads(to_json(record))
        with TemporaryDirectory() as folder:
            write_embedding(Path(folder) / "rows", identity, embedding)
            rows = (Path(folder) / "rows").read_bytes()

        def change(files: dict[str, bytes]) -> None:
            files.pop("source/target_distances.py.txt")
            files[f"records/{DATASET}.json"] = json.dumps(text).encode()
            files["card.json"] = json.dumps(card).encode()
            files[f"embeddings/{DATASET}.safetensors"] = rows
            manifest = json.loads(files["manifest.json"])
            files["manifest.json"] = json.dumps(manifest | {"target": target.name, "dimension": 128}).encode()

        return spoil(packed, tmp_path, change)

    report, cells = verify_submission(submission(known.features), runner, board=made_board)
    assert told(report) == ""
    assert cells[0].record.submission is not None
    assert cells[0].record.submission.ranked, "all rows are those that the publisher has"
    forged = submission(noisy)
    report, _ = verify_submission(forged, runner, board=made_board)
    assert "those of sevennet-0 here" in told(report)
    bare = Runner(runner.spec, store=Store(tmp_path / "bare", _without(tmp_path / "shipped", "sevennet-0")))
    report, _ = verify_submission(forged, bare, board=made_board)
    assert "no embedding of sevennet-0 is here to compare them with" in told(report)
    report, cells = verify_submission(forged, bare, board=made_board, rules=Rules(trust_submitter=True))
    assert told(report) == ""
    assert cells[0].record.submission == Submission(trusted=True)
    assert not cells[0].record.submission.ranked


def _without(folder: Path, name: str) -> Path:
    """Shipped embeddings but for one target's."""
    for path in (shipped_with("v1") / DATASET).iterdir():
        if not path.name.startswith(f"{name}.safetensors"):
            (folder / DATASET).mkdir(parents=True, exist_ok=True)
            (folder / DATASET / path.name).symlink_to(path)
    return folder


@pytest.mark.slow
def test_a_copy_that_names_its_ancestor_is_shown_as_it(packed: Path, tmp_path: Path, runner: Runner) -> None:
    source = get_target("sevennet-0")
    shipped = runner.store.get(identify(source, runner.items(DATASET)))
    assert shipped is not None
    rows = np.hstack([shipped.features[:, ::-1] * 3, np.zeros((500, 16), np.float32)])

    def with_ancestor(name: str) -> Report:
        path = spoil(packed, tmp_path, of_embedding(lambda e: replace(e, features=np.ascontiguousarray(rows))))
        for file in ("card.json", f"records/{DATASET}.json"):
            part = (lambda c: c) if file == "card.json" else (lambda c: c["card"])
            path = spoil(path, tmp_path, of_json(file, lambda c, of=part: of(c).update(ancestor=name, dimension=144)))
        path = spoil(path, tmp_path, of_json("manifest.json", lambda c: c.update(dimension=144)))
        record = parse_record(read_archive(path)[f"records/{DATASET}.json"], "")
        embedding = parse_embedding(read_archive(path)[f"embeddings/{DATASET}.safetensors"])[1]
        again = runner.run(Cell(DATASET, target_of(record)), embedding=embedding).model_copy(
            update={"card": record.card}
        )
        path = spoil(path, tmp_path, lambda f: f.update({f"records/{DATASET}.json": to_json(again).encode()}))
        report, cells = verify_submission(path, runner)
        if not report.findings:
            assert cells[0].record.submission is not None
            assert cells[0].record.submission.label == "as sevennet-0"
            assert not cells[0].record.submission.ranked
        return report

    assert told(with_ancestor("sevennet-0")) == ""
    assert "those of sevennet-0 / a target's own" in told(with_ancestor("chgnet-0.3.0"))
