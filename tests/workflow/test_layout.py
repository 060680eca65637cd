"""Where the workflow's files lie and what each job needs, by hand for small configurations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlcslm.config.reading import parse_config, read_config
from mlcslm.errors import UserError
from mlcslm.workflow.job import without_workflow_keys
from mlcslm.workflow.layout import Layout

REPOSITORY = Path(__file__).parents[2]
STAGE = {"trains": ["projector"], "template": "plain", "steps": 1}
STAGES = {
    "baseline-1": STAGE | {"parent": "foundation"},
    "baseline-2": STAGE | {"parent": "baseline-1", "trains": ["projector", "lm_lora"]},
    "ckpt-2000": STAGE | {"parent": "foundation"},
    "ckpt-4000": STAGE | {"parent": "ckpt-2000", "trains": ["projector", "embedding", "head"]},
    "ckpt-7000": STAGE | {"parent": "ckpt-4000", "trains": ["lm_lora", "encoder_lora"]},
    "ckpt-9000": STAGE | {"parent": "ckpt-7000", "trains": ["lm_lora"]},
}


def layout(**changes: Any) -> Layout:
    values: dict[str, Any] = {
        "results": "made",
        "languages": str(REPOSITORY / "config" / "languages.tsv"),
        "tables": str(REPOSITORY / "config" / "tables.yaml"),
        "models": {"encoder": "e", "language_model": "l"},
        "stages": STAGES,
        "decodings": {"greedy": {}},
    }
    return Layout(parse_config(values | changes))


def test_every_file_is_below_the_results_folder() -> None:
    made = layout()
    assert made.manifest("dev") == Path("made/manifests/dev.parquet")
    assert made.corpus_statistics("dev") == Path("made/manifests/dev.stats.json")
    assert made.checkpoint("ckpt-2000") == Path("made/checkpoints/ckpt-2000")
    assert made.hypotheses("ckpt-2000", "greedy", "dev") == Path("made/hypotheses/ckpt-2000/greedy/dev.parquet")
    assert made.scores("ckpt-2000", "greedy", "dev") == Path("made/scores/ckpt-2000/greedy/dev.parquet")
    assert made.cache("foundation", "train") == Path("made/features/foundation/train")


def test_the_first_stage_has_no_parent_file_and_the_others_theirs() -> None:
    made = layout()
    assert made.parent_file("ckpt-2000") == []
    assert made.parent_file("ckpt-7000") == ["made/checkpoints/ckpt-4000/checkpoint.json"]


def test_each_encoder_has_cached_outputs_while_stages_use_it_as_it_is() -> None:
    made = layout()
    foundation, adapted = (f"made/features/{name}/{{}}/cache.json".format for name in ("foundation", "ckpt-7000"))
    for name in list(STAGES)[:4]:
        assert [made.cache_file(name, split) for split in ("train", "dev")] == [
            [foundation("train")],
            [foundation("dev")],
        ]
    assert made.cache_file("ckpt-7000", "train") == []  # it trains that encoder
    assert made.cache_file("ckpt-7000", "dev") == [adapted("dev")]
    assert [made.cache_file("ckpt-9000", split) for split in ("train", "dev")] == [[adapted("train")], [adapted("dev")]]
    assert made.adapted_encoder_file("ckpt-7000") == ["made/checkpoints/ckpt-7000/checkpoint.json"]
    assert made.adapted_encoder_file("foundation") == []


def test_outputs_that_are_read_once_are_not_cached() -> None:
    made = layout(stages={**STAGES, "ckpt-9000": STAGES["ckpt-7000"] | {"parent": "ckpt-7000"}})
    assert not any(made.cache_file(name, split) for name in ("ckpt-7000", "ckpt-9000") for split in ("train", "dev"))
    without = layout(resources={"cache_encoder": False})
    assert not any(without.cache_file(name, split) for name in STAGES for split in ("train", "dev"))


def test_shards_share_the_groups_out() -> None:
    assert layout().shards() == {"all": layout().groups}
    shards = layout(resources={"languages_per_shard": 4}).shards()
    assert [len(groups) for groups in shards.values()] == [4, 4, 4, 3]
    assert [group for groups in shards.values() for group in groups] == layout().groups
    assert list(shards) == ["English-American", "English-Indian", "Japanese", "Spanish"]
    files = layout(resources={"languages_per_shard": 8}).shard_files("ckpt-2000", "greedy", "dev")
    assert files == [
        "made/hypotheses/ckpt-2000/greedy/dev/English-American.parquet",
        "made/hypotheses/ckpt-2000/greedy/dev/Japanese.parquet",
    ]


def test_stages_that_reason_wait_for_reflections_on_the_training_set() -> None:
    usual = STAGE | {"parent": "ckpt-4000", "trains": ["lm_lora"]}
    stages = STAGES | {
        "ckpt-9000": STAGE | {"parent": "ckpt-7000", "template": "reasoning"},
        "half-0": usual | {"fold": [0, 2]},
        "half-1": usual | {"fold": [1, 2]},
    }
    made = layout(stages=stages)
    assert made.reasoning_file("ckpt-9000") == [str(made.reasoning())] == ["made/reasoning/reasoning.parquet"]
    assert made.reasoning_file("ckpt-7000") == []
    assert made.reasoning_hypotheses() == ["made/reasoning/hypotheses/ckpt-7000/all.parquet"]
    folds = {"stages": stages, "reasoning": {"checkpoint": ["half-0", "half-1"]}}
    assert layout(**folds, resources={"languages_per_shard": 8}).reasoning_hypotheses() == [
        f"made/reasoning/hypotheses/half-{number}/{shard}.parquet"
        for number in range(2)
        for shard in ("English-American", "Japanese")
    ]


def test_table_6_needs_its_rows_on_both_splits_and_their_ancestors_on_dev() -> None:
    rows = [(name, split) for name in ("baseline-2", "ckpt-4000", "ckpt-7000") for split in ("dev", "test")]
    ancestors = [("baseline-1", "dev"), ("ckpt-2000", "dev")]
    stages = {name: stage for name, stage in STAGES.items() if name != "ckpt-9000"}
    measured = layout(stages=stages).measured("table6")
    assert sorted(measured) == sorted((name, "greedy", split) for name, split in rows + ancestors)
    assert len(measured) == len(set(measured))


def test_table_inputs_name_each_file_once() -> None:
    inputs = layout().table_inputs("table6")
    assert inputs["manifests"] == [f"made/manifests/{split}.parquet" for split in ("train", "dev", "test")]
    assert all(len(files) == len(set(files)) for files in inputs.values())
    assert "made/checkpoints/ckpt-2000/training_log.parquet" in inputs["logs"]
    assert len(inputs["scores"]) == len(inputs["hypotheses"]) == len(inputs["reflections"])
    assert "made/reflections/ckpt-2000/greedy/dev.parquet" in inputs["reflections"]


def test_all_tables_with_a_row_are_measured() -> None:
    assert layout().measured_tables() == ["table1", "table3", "table6"]
    assert Layout(read_config(REPOSITORY / "config" / "demo.yaml")).measured_tables() == [
        f"table{n}" for n in range(1, 8)
    ]


def test_requested_tables_are_the_targets_or_those_that_have_been_made(tmp_path: Path) -> None:
    made = layout(results=str(tmp_path))
    table, database = str(made.table("table6")), str(made.database())
    assert made.requested_tables([table, str(made.table("table1", ".md"))]) == ["table1", "table6"]
    for targets in ([], ["all"], [str(made.report())], [table, "all"], [database]):
        assert made.requested_tables(targets) == ["table1", "table3", "table6"]
    made.table("table3").parent.mkdir()
    made.table("table3").touch()
    assert made.requested_tables([database]) == ["table3"]


def test_the_database_needs_what_its_tables_need_and_takes_what_else_there_is(tmp_path: Path) -> None:
    made = layout(results=str(tmp_path))
    inputs = made.database_inputs(["table1"])
    assert set(inputs["scores"]) == set(made.table_inputs("table1")["scores"])
    for kind in (made.scores, made.hypotheses, made.reflections):
        for split in ("dev", "test"):
            path = kind("ckpt-4000", "greedy", split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    # Dev is an input; test is not, and no job would be run for it.
    assert made.also_measured(inputs) == [str(made.scores("ckpt-4000", "greedy", "test"))]


def test_tables_1_and_2_need_dev_alone() -> None:
    made = layout()
    names = ("ckpt-2000", "ckpt-4000", "ckpt-7000", "ckpt-9000")
    assert sorted(made.measured("table1")) == [(name, "greedy", "dev") for name in names]
    reward = "ckpt-12500/error_type+error_detail"
    stages = STAGES | {
        "ckpt-10000": STAGE | {"parent": "ckpt-9000"},
        reward: STAGE | {"parent": "ckpt-10000"},
    }
    lineage = sorted([reward, "ckpt-10000", *names])
    assert sorted(layout(stages=stages).measured("table2")) == [(name, "greedy", "dev") for name in lineage]


def test_contexts_and_grids_are_not_decoded_with_their_ancestors() -> None:
    best, contexts = "ckpt-12500/format+accuracy+correction", ("greedy-reference-context", "greedy-hypothesis-context")
    stages = STAGES | {
        "ckpt-9000-context": STAGE | {"parent": "ckpt-7000"},
        best: STAGE | {"parent": "ckpt-9000"},
    }
    decodings = {name: {} for name in ("greedy", *contexts, "multinomial-150", "beam-10-150", "other")}
    made = layout(stages=stages, decodings=decodings)
    assert sorted(made.measured("table3")) == [
        *((name, "greedy", "dev") for name in ("ckpt-2000", "ckpt-4000", "ckpt-7000")),
        *(("ckpt-9000-context", decoding, "dev") for decoding in sorted(contexts)),
    ]
    assert made.measured("table4") == [(best, decoding, "dev") for decoding in ("multinomial-150", "beam-10-150")]


def diarizing(**diarizers: dict[str, Any]) -> Layout:
    usual = {"embedding": "e", "asr": {"checkpoint": "ckpt-4000", "decoding": "greedy"}}
    embeddings = {"e": {"network": "campplus", "checkpoint": str(REPOSITORY / "config")}}
    return layout(embeddings=embeddings, diarizers={name: usual | values for name, values in diarizers.items()})


def test_tables_5_and_7_need_their_diarizers_and_what_transcribes_them() -> None:
    other = {"checkpoint": "baseline-2", "decoding": "greedy"}
    made = diarizing(
        **{"campplus-8": {}, "campplus-8-merged": {"keep_vad_boundaries": False}, "baseline": {"asr": other}}
    )
    # Table 5 takes the ablation with it, and what else the configuration has.
    names = ("campplus-8", "campplus-8-merged", "baseline")
    assert made.diarized("table5") == [(name, "dev") for name in names]
    assert made.measured("table5") == [("ckpt-4000", "greedy", "dev"), ("baseline-2", "greedy", "dev")]
    rows = [(name, split) for name in ("baseline", "campplus-8") for split in ("dev", "test")]
    assert made.diarized("table7") == rows
    assert sorted(made.measured("table7")) == [
        (name, "greedy", split) for name in ("baseline-2", "ckpt-4000") for split in ("dev", "test")
    ]
    inputs = made.table_inputs("table7")
    assert inputs["diarization"] == [f"made/diarization/{name}/{split}/counts.parquet" for name, split in rows]
    assert "made/scores/ckpt-4000/greedy/test.parquet" in inputs["scores"]


def lacking(results: Path | str = "made", **diarizers: dict[str, Any]) -> Layout:
    """A layout whose embedding `nowhere` is not on this machine."""
    here, nowhere = ({"network": "campplus", "checkpoint": place} for place in (str(REPOSITORY / "config"), "no/where"))
    usual = {"embedding": "here", "asr": {"checkpoint": "ckpt-4000", "decoding": "greedy"}}
    named = {name: usual | values for name, values in diarizers.items()}
    return layout(results=str(results), embeddings={"here": here, "nowhere": nowhere}, diarizers=named)


def test_tables_do_without_rows_that_cannot_be_measured_here() -> None:
    made = lacking(**{"campplus-8": {}, "resnet101-8": {"embedding": "nowhere"}})
    assert made.diarized("table5") == [("campplus-8", "dev")]
    assert made.tcpmer_inputs()["diarization"] == [
        f"made/diarization/campplus-8/{split}/counts.parquet" for split in ("dev", "test")
    ]
    title, missing = made.notices()
    assert "1 of 2 diarizers, resnet101-8; table5 is made of 1 of its 2 rows, table7 is made of 1" in title
    assert "embeddings.nowhere.checkpoint = no/where" in missing and "needed by resnet101-8" in missing
    assert list(made.config.diarizers) == ["campplus-8", "resnet101-8"]  # a target of its own is still known
    made.refuse_unavailable(["made/tables/table5.csv", "made/diarization/resnet101-8/dev/counts.parquet"])


def test_a_table_of_nothing_but_such_rows_is_refused_in_words() -> None:
    made = lacking(**{"resnet101-8": {"embedding": "nowhere"}})
    assert not {"table5", "table7"} & set(made.measured_tables())
    for name in ("table5.csv", "table7.md"):
        with pytest.raises(UserError, match=r"cannot be made here\.\n.*\n.*no/where"):
            made.refuse_unavailable(["--cores", "2", f"made/tables/{name}"])
    with pytest.raises(UserError, match=r"table4\.csv: the configuration has no row of it"):
        made.refuse_unavailable(["./made/tables/table4.csv"])


def test_what_has_been_diarized_is_measured_without_its_models(tmp_path: Path) -> None:
    made = lacking(tmp_path, **{"resnet101-8": {"embedding": "nowhere"}})
    for split in ("dev", "test"):
        assert "resnet101-8" not in made.measurable.diarizers
        made.diarization_segments("resnet101-8", split).parent.mkdir(parents=True)
        made.diarization_segments("resnet101-8", split).touch()
        made = lacking(tmp_path, **{"resnet101-8": {"embedding": "nowhere"}})
    assert "resnet101-8" in made.measurable.diarizers
    assert made.notices() == []


def test_a_plan_counts_what_this_machine_lacks() -> None:
    config = lacking(**{"resnet101-8": {"embedding": "nowhere"}}).config
    assert "table5" in Layout(config, whole=True).measured_tables()


def test_without_a_test_split_tables_show_dev_only() -> None:
    folders = {"train": "data/train", "dev": "data/dev"}
    made = layout(corpus={"kind": "folder", "folders": folders})
    inputs = made.table_inputs("table6")
    assert inputs["manifests"] == ["made/manifests/train.parquet", "made/manifests/dev.parquet"]
    assert {Path(file).stem for kind in ("scores", "hypotheses") for file in inputs[kind]} == {"dev"}
    for target in ("manifests/test.parquet", "scores/ckpt-4000/greedy/test.parquet", "diarization/a/test/rttm"):
        with pytest.raises(UserError, match="has no test split"):
            made.refuse_unavailable([f"made/{target}"])
    submissions = "made/submissions/ckpt-4000/greedy"
    with pytest.raises(UserError, match=f"is for the test split.* ask for {submissions}/dev/track1.txt"):
        made.refuse_unavailable([f"{submissions}/track1.txt"])
    made.refuse_unavailable([f"{submissions}/dev/track1.txt"])
    made.refuse_unavailable(["made/manifests/dev.parquet", "--test", "made/tables/table6.csv"])
    with pytest.raises(UserError, match=r"Expected its folder as corpus\.folders\.test"):
        made.corpus("test")


def test_a_diarizer_waits_for_an_embedding_that_is_trained_here() -> None:
    asr = {"checkpoint": "ckpt-4000", "decoding": "greedy"}
    made = layout(
        embeddings={
            "public": {"network": "campplus", "checkpoint": "some/folder"},
            "ours": {"network": "resnet101", "training": {"steps": 1}},
        },
        diarizers={"one": {"embedding": "public", "asr": asr}, "two": {"embedding": "ours", "asr": asr}},
    )
    assert made.embedding_file("one") == []
    assert made.embedding_file("two") == ["made/embeddings/ours/model.safetensors"]
    assert made.transcriber_file("one") == ["made/checkpoints/ckpt-4000/checkpoint.json"]


def test_without_its_diarizers_table_5_needs_nothing() -> None:
    made = diarizing(other={})
    assert (made.diarized("table5"), made.measured("table5"), made.table_inputs("table5")["diarization"]) == (
        [],
        [],
        [],
    )
    assert made.table_inputs("table6")["diarization"] == []


def test_diarization_on_disk_is_what_has_been_scored(tmp_path: Path) -> None:
    made = diarizing(one={}, two={})
    made.root = tmp_path
    for name, split in (("two", "dev"), ("two", "test"), ("removed", "dev"), ("one", "dev")):
        for path in (made.diarization_counts(name, split), made.diarization_hypotheses(name, split)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    made.diarization_counts("one", "dev").unlink()
    assert made.diarization_on_disk() == [("two", "dev"), ("two", "test")]


def test_on_disk_is_what_has_been_scored_and_is_still_configured(tmp_path: Path) -> None:
    made = layout(results=str(tmp_path))
    for checkpoint in ("ckpt-2000", "ckpt-4000", "removed"):
        for kind in (made.scores, made.hypotheses, made.reflections):
            path = kind(checkpoint, "greedy", "dev")
            path.parent.mkdir(parents=True)
            path.touch()
    made.hypotheses("ckpt-4000", "greedy", "dev").unlink()
    assert made.on_disk() == [("ckpt-2000", "greedy", "dev")]


def test_the_demo_brings_noises_of_its_own_and_a_folder_corpus_none() -> None:
    folders = {"kind": "folder", "folders": {"train": "a", "dev": "b", "test": "c"}}
    assert layout().noise("noise") == Path("made/corpus/augmentation/noise")
    assert layout().noise("room_responses") == Path("made/corpus/augmentation/room")
    assert layout(augmentation={"probability": 0}).noise("noise") is None
    assert layout(corpus=folders).noise("noise") is None
    given = layout(corpus=folders, augmentation={"noise": "musan"})
    assert (given.noise("noise"), given.noise("room_responses")) == (Path("musan"), None)


def test_a_split_of_the_demo_can_be_recordings_of_ones_own(tmp_path: Path) -> None:
    """Its others stay the demo's, so that no checkpoint is trained again."""
    (tmp_path / "wavs").mkdir()
    mixed = layout(corpus={"folders": {"test": str(tmp_path / "wavs")}})
    assert mixed.corpus("test") == tmp_path / "wavs" and mixed.corpus_marker("test") == [str(tmp_path / "wavs")]
    for split in ("train", "dev"):
        assert mixed.corpus(split) == layout().corpus(split)
        assert mixed.corpus_marker(split) == layout().corpus_marker(split)


def test_a_corpus_is_waited_for_where_the_workflow_makes_it(tmp_path: Path) -> None:
    assert layout().corpus("dev") == Path("made/corpus/dev")
    assert layout().corpus_marker("dev") == ["made/corpus/corpus.json"]
    there = tmp_path / "there"
    there.mkdir()
    folders = {"train": str(there), "dev": str(there), "test": str(tmp_path / "missing")}
    own = layout(corpus={"kind": "folder", "folders": folders}, results=str(tmp_path / "made"))
    assert own.corpus("dev") == there
    assert own.corpus_marker("dev") == [str(there)]
    # The manifest's job then says what is missing; Snakemake itself would only name a rule.
    assert own.corpus_marker("test") == []
    # A manifest that was made before the folder went away is still good.
    own.manifest("test").parent.mkdir(parents=True)
    own.manifest("test").touch()
    assert own.corpus_marker("test") == [str(tmp_path / "missing")]


def test_a_layout_needs_its_tables_of_languages_and_rows() -> None:
    with pytest.raises(UserError, match=r"no\.tsv"):
        layout(languages="no.tsv")
    with pytest.raises(UserError, match=r"no\.yaml"):
        layout(tables="no.yaml")


def test_configurations_become_plain_dictionaries() -> None:
    from collections import OrderedDict

    plain = without_workflow_keys(OrderedDict(a=OrderedDict(b=1), c=[1, 2]))
    assert plain == {"a": {"b": 1}, "c": [1, 2]}
    assert type(plain) is type(plain["a"]) is dict


def test_the_workflow_is_planned_without_heavy_imports() -> None:
    program = "import sys, mlcslm.workflow; print(*{'torch', 'transformers', 'duckdb', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
