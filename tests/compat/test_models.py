"""MindFormers' generate: what counts, what it returns, and its defaults."""

from __future__ import annotations

import numpy as np
import pytest

from glmlite.compat import AutoConfig, AutoModel, AutoTokenizer, ChatGLM2Config, Trainer, pipeline
from glmlite.compat.locate import locate_bundle
from glmlite.errors import BundleError, ConfigError
from tests.compat.parrot import REPLY

PROMPT = "[Round 1]\n\n问：你好\n\n答："


@pytest.fixture
def tokenizer(demo_folder):
    return AutoTokenizer.from_pretrained(demo_folder)


def test_the_result_is_the_prompt_the_answer_and_its_end(demo, tokenizer):
    ids = tokenizer(PROMPT)["input_ids"]
    (output,) = demo.generate(ids)
    assert output.dtype == np.int32
    assert output[: len(ids)].tolist() == ids
    assert output[-1] == tokenizer.eos_token_id
    assert tokenizer.decode([output]) == [tokenizer.decode(output)]
    assert tokenizer.decode(output[len(ids) :]).startswith("你好")


def test_max_length_counts_the_prompt(demo, tokenizer):
    ids = tokenizer(PROMPT)["input_ids"]
    assert len(demo.generate(ids, max_length=len(ids) + 3)[0]) == len(ids) + 3
    assert len(demo.generate(ids, max_new_tokens=2, max_length=1)[0]) == len(ids) + 2
    assert demo.generate(ids, max_length=len(ids))[0].tolist() == ids
    assert len(demo.generate(ids, max_length=10**6)[0]) < demo.running.capacity
    with pytest.raises(ConfigError, match="prompt and answer together may have 4096"):
        demo.generate([5] * 4097)


def test_batches_and_padding(demo, tokenizer):
    texts = [PROMPT, PROMPT.replace("你好", "你是谁")]
    alone = [demo.generate(tokenizer(text)["input_ids"])[0].tolist() for text in texts]
    padded = tokenizer(texts, padding=True)["input_ids"]
    assert [row.tolist() for row in demo.generate(padded)] == alone
    arrays = tokenizer(texts, return_tensors="np")["input_ids"]
    assert [row.tolist() for row in demo.generate(arrays)] == alone


def test_without_do_sample_nothing_else_counts(demo, tokenizer):
    ids = tokenizer(PROMPT)["input_ids"]
    greedy = demo.generate(ids)[0].tolist()
    # As MindFormers' page has it, with top_p and top_k in each other's place.
    odd = demo.generate(ids, do_sample=False, top_p=3, top_k=0.7, temperature=1, num_beams=1)
    assert odd[0].tolist() == greedy
    assert demo.generate(ids, do_sample=True, top_k=1)[0].tolist() == greedy
    with pytest.raises(ConfigError, match="top_k"):
        demo.generate(ids, do_sample=True, top_k=0.7)
    one = demo.generate(ids, do_sample=True, top_k=0, temperature=3.0, seed=1)[0].tolist()
    assert one == demo.generate(ids, do_sample=True, top_k=0, temperature=3.0, seed=1)[0].tolist()
    assert one != greedy


def test_options_that_mean_nothing_or_are_missing(demo, tokenizer):
    ids = tokenizer(PROMPT)["input_ids"]
    with pytest.warns(UserWarning, match="is_sample_acceleration change nothing"):
        demo.generate(ids, max_new_tokens=1, is_sample_acceleration=True)
    with pytest.raises(ConfigError, match="no beam search"):
        demo.generate(ids, num_beams=4)
    with pytest.raises(ConfigError, match="has no ids"):
        demo.generate([[0, 0]])


def test_a_streamer_gets_the_prompt_and_every_token(demo, tokenizer):
    class Streamer:
        def __init__(self):
            self.got, self.ended = [], 0

        def put(self, value):
            self.got += value.tolist()

        def end(self):
            self.ended += 1

    streamer = Streamer()
    (output,) = demo.generate(tokenizer(PROMPT)["input_ids"], streamer=streamer)
    assert (streamer.got, streamer.ended) == (output.tolist(), 1)


def test_the_configuration(demo_folder, tokenizer):
    config = AutoConfig.from_pretrained(demo_folder)
    assert (config.seq_length, config.num_layers, config.vocab_size) == (4096, 3, 1248)
    config.use_past = True
    config.anything = "else"
    ids = tokenizer(PROMPT)["input_ids"]
    config.seq_length = len(ids) + 4
    model = AutoModel.from_config(config, engine="reference")
    try:
        assert len(model.generate(ids, max_length=2048)[0]) == len(ids) + 4
    finally:
        model.close()
    with pytest.raises(ConfigError, match="names no bundle"):
        AutoModel.from_config(ChatGLM2Config())
    with pytest.raises(BundleError, match="glmlite export"):
        AutoModel.from_config(ChatGLM2Config("/path/to/glm2_6b_finetune.ckpt"))


def test_names_and_yamls_lead_to_a_bundle(demo_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "glm2_6b").symlink_to(demo_folder)
    assert locate_bundle("glm2_6b").resolve() == demo_folder.resolve()
    yaml = tmp_path / "predict.yaml"
    model = "model:\n  model_config:\n    seq_length: 77\n    top_k: 3\n    do_sample: True\n"
    yaml.write_text(model + "    checkpoint_name_or_path: glm2_6b\n")
    config = AutoConfig.from_pretrained(str(yaml))
    assert (config.seq_length, config.top_k, config.do_sample) == (77, 3, True)
    yaml.write_text(model + "infer: {prefill_model_path: build/glm2_6b/prefill.mindir}\n")
    assert locate_bundle(yaml).resolve() == demo_folder.resolve()
    yaml.write_text(model + "trainer: {model_name: glm3_6b}\n")
    with pytest.raises(BundleError, match=r"glm3_6b, build/glm3_6b.*\n.*--config .*predict.yaml"):
        locate_bundle(yaml)
    monkeypatch.setenv("GLMLITE_BUNDLES", str(demo_folder.parent))
    assert locate_bundle("demo") == demo_folder


def test_pipelines(demo, tokenizer, demo_folder):
    run = pipeline(task="text_generation", model=demo, tokenizer=tokenizer, max_length=64)
    (result,) = run(PROMPT)
    (output,) = demo.generate(tokenizer(PROMPT)["input_ids"], max_length=64)
    assert result == {"text_generation_text": [tokenizer.decode(output)]}
    assert result["text_generation_text"][0].startswith(PROMPT)
    assert run([PROMPT, PROMPT]) == [result, result]
    assert pipeline(model=demo)(PROMPT, max_length=64) == [result]
    with pytest.raises(ConfigError, match="text_generation"):
        pipeline(task="translation", model=demo)


def test_trainers_predict_only(demo):
    trainer = Trainer(task="text_generation", model=demo, train_dataset="x", eval_dataset="y")
    assert trainer.predict(input_data=PROMPT) == pipeline(model=demo)(PROMPT)
    for name in ("train", "finetune", "evaluate"):
        with pytest.raises(ConfigError, match=f"Trainer.{name}: .*not do that yet"):
            getattr(trainer, name)()


def test_a_chatglm3_conversation(parrot, parrot_folder):
    tokenizer = AutoTokenizer.from_pretrained(parrot_folder)
    inputs = tokenizer.build_chat_input("你好", history=[], role="user")["input_ids"]
    (output,) = parrot.generate(inputs, do_sample=False, top_k=1, max_length=100)
    assert tokenizer.decode(output[len(inputs[0]) : -1]) == f"\n{REPLY}"
