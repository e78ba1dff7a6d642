"""Elements of measured grids: those of the networks as built, with every disagreement named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mobilebench.models.fingerprint import code_digest
from mobilebench.scoring.effects import element_effects
from mobilebench.scoring.xscore import xscore
from mobilebench.studies.beyond_imagenet import built
from mobilebench.studies.beyond_imagenet import published as reference
from mobilebench.studies.beyond_imagenet.claims import check_claims
from mobilebench.studies.beyond_imagenet.context import load_context

TABLE = reference.matrix()
EFFECTS = {"printed": 0.012, "built": 0.063}  # of squeeze-and-excite on Table 3's scores, from its flags by hand


def effect(flags: dict[str, dict[str, bool]]) -> float:
    return element_effects(TABLE.models, xscore(TABLE.mean).score, {"squeeze_excite": flags["squeeze_excite"]})[
        0
    ].effect


def test_mobileone_is_built_without_squeeze_and_excite_and_the_effect_follows() -> None:
    assert effect(built.printed_elements().flags) == pytest.approx(EFFECTS["printed"], abs=5e-4)
    assert effect(built.built_elements(TABLE.models).flags) == pytest.approx(EFFECTS["built"], abs=5e-4)


def test_claims_on_a_measured_grid_use_the_built_network_and_name_the_disagreement(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "accuracy.csv")
    measured, published = (
        {claim.name: claim for claim in check_claims(load_context(source))} for source in (str(tmp_path), "published")
    )
    claim = measured["channel_attention"]
    assert any("mobileone has it, the network built does not; the built counts" in note for note in claim.notes)
    assert any("(n = 3) minus without (n = 8): +0.063" in line for line in (*claim.pro, *claim.contra))
    assert not any("mobileone" in note for note in measured["transformers"].notes)
    printed = published["channel_attention"]
    assert any("(n = 4) minus without (n = 7): +0.012" in line for line in (*printed.pro, *printed.contra))


def test_every_disagreement_of_the_packaged_networks_has_its_sentence() -> None:
    notes = built.printed_elements().notes
    assert {element for element, found in notes.items() if found} == {"squeeze_excite", "relu_variant"}
    assert sum("the printed counts" in note for found in notes.values() for note in found) == 3


def test_packaged_networks_need_no_torch() -> None:
    code = (
        "import sys; from mobilebench import models; from mobilebench.studies.beyond_imagenet import built;"
        "assert built.built_elements(models.MODELS).flags; print(sorted({'torch', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_network_from_outside_is_built_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    from mobilebench.studies.beyond_imagenet import elements

    (project / ".mobilebench").mkdir()
    flags = built.built_elements(["timm:efficientnet_b0"]).flags
    assert all(flags[name]["timm:efficientnet_b0"] for name in ("squeeze_excite", "inverted_residual", "relu_variant"))
    assert not flags["layerwise_transformer"]["timm:efficientnet_b0"]
    monkeypatch.setattr(elements, "derived_of", None)
    assert built.built_elements(["timm:efficientnet_b0"]).flags == flags
    kept = json.loads(built.KEPT.read_text())
    kept["timm:efficientnet_b0"]["version"] = "timm 0.1"
    built.KEPT.write_text(json.dumps(kept))
    assert "timm:efficientnet_b0" in built.built_elements(["timm:efficientnet_b0"]).remarks[0], (
        "seen of another version"
    )


def test_an_entry_point_is_seen_again_when_its_file_changes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project))
    info = project / "mynet-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mynet\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mobilebench.models]\nmy_net = mynet_nets:build\n")
    (project / "mynet_nets.py").write_text("def build(num_classes): ...\n")
    before = code_digest("my_net")
    (project / "mynet_nets.py").write_text("def build(num_classes):  # another\n    ...\n")
    assert code_digest("my_net") != before


def test_what_cannot_be_built_is_left_out_and_named() -> None:
    found = built.built_elements(["starnet", "no_such_net"])
    assert all(set(row) == {"starnet"} for row in found.flags.values())
    (remark,) = found.remarks
    assert "no_such_net" in remark


def test_a_claim_names_the_models_whose_elements_are_not_known(tmp_path: Path) -> None:
    frame = TABLE.to_frame().replace({"model": {"starnet": "no_such_net"}})
    frame.to_csv(tmp_path / "accuracy.csv", index=False)
    found = {claim.name: claim for claim in check_claims(load_context(str(tmp_path)))}
    claim = found["channel_attention"]
    assert any("no_such_net" in note for note in claim.notes)
    assert any("(n = 3) minus without (n = 7)" in line for line in (*claim.pro, *claim.contra))
    assert not any("no_such_net" in note for note in found["last"].notes)
