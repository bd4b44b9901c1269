"""Images that TRL hands to vLLM stay with the rows whose budgets differ; stand-ins for the engine and the client."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from trl.generation import vllm_generation as trl_vllm

from prefix_rft_trl.sampling.returned_rows import rows_of_vllm_checked
from prefix_rft_trl.sampling.vllm import limit_new_tokens_per_row
from prefix_rft_trl.utils.patching import replaced


IMAGE = 99
PROMPTS = [[1, IMAGE, IMAGE, 2], [1, IMAGE, IMAGE, 2, 5, 6], [3, 4], [1, IMAGE, 7, IMAGE, 8]]
IMAGES = [["red"], ["red"], None, ["blue", "green"]]
BUDGETS = [8, 6, 8, 7]


class Engine:
    """Stands in for `vllm.LLM`, which takes one token for an image, or more than the trainer."""

    def __init__(self, tokens_of_image: int = 3, is_mixed_up: bool = False) -> None:
        self.tokens_of_image, self.is_mixed_up, self.asked = tokens_of_image, is_mixed_up, []

    def generate(self, prompts, sampling_params, use_tqdm):
        self.asked = [
            (row["prompt_token_ids"], row.get("multi_modal_data"), params.max_tokens)
            for row, params in zip(prompts, sampling_params, strict=True)
        ]
        order = reversed(prompts) if self.is_mixed_up else prompts
        return [self.answer(row["prompt_token_ids"]) for row in order]

    def answer(self, ids):
        runs = [token for place, token in enumerate(ids) if token != IMAGE or ids[place - 1] != IMAGE]
        expanded = [token for run in runs for token in [run] * (self.tokens_of_image if run == IMAGE else 1)]
        output = SimpleNamespace(token_ids=[5], logprobs=[{5: SimpleNamespace(rank=1, logprob=-1.0)}])
        return SimpleNamespace(prompt_token_ids=expanded, outputs=[output])


class Client:
    """Stands in for TRL's `VLLMClient`."""

    base_url = "http://10.0.0.7:8000"
    update_named_params = reset_prefix_cache = None  # no weights are sent here

    def __init__(self):
        self.asked = {}

    def image_features(self, images):
        return [of_row and {"mm_placeholders": {"image": of_row}} for of_row in images]

    def generate(self, prompts, features=None, max_tokens=16, **others):
        for ids, of_row in zip(prompts, features, strict=True):
            self.asked[tuple(ids)] = (of_row and of_row["mm_placeholders"]["image"], max_tokens)
        logprobs = [[[-1.0]] for _ in prompts]
        return {
            "prompt_ids": prompts, "completion_ids": [[len(ids)] for ids in prompts], "logprobs": logprobs,
            "logprob_token_ids": logprobs,
        }  # fmt: skip


def generate(mode: str, engine: object) -> tuple:
    """What a trainer gets of TRL's `VLLMGeneration`, as it is after it has found its engine."""
    generation = object.__new__(trl_vllm.VLLMGeneration)
    vars(generation).update(
        mode=mode, accelerator=Accelerator(cpu=True), model=torch.nn.Linear(2, 2), max_completion_length=8,
        generation_kwargs={}, tensor_parallel_size=1, processing_class=SimpleNamespace(image_token_id=IMAGE),
        **{"llm" if mode == "colocate" else "vllm_client": engine},
        **{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0, "logprobs": 0},
        **dict.fromkeys(["structured_outputs_regex", "enable_sleep_mode", "_weight_metadata"]),
    )  # fmt: skip

    def params(max_tokens, min_tokens=0, **others):
        return SimpleNamespace(max_tokens=max_tokens, min_tokens=min_tokens)

    with (
        replaced(trl_vllm, "SamplingParams", params),
        limit_new_tokens_per_row(generation, BUDGETS),
        rows_of_vllm_checked(generation),
    ):
        return generation.generate(prompts=PROMPTS, images=IMAGES, num_generations=1)


@pytest.mark.parametrize("tokens_of_image", [1, 2, 4])
def test_rows_of_a_colocated_engine_have_their_images(tokens_of_image):
    engine = Engine(tokens_of_image)
    generate("colocate", engine)
    data = [None if images is None else {"image": images if len(images) > 1 else images[0]} for images in IMAGES]
    assert engine.asked == list(zip(PROMPTS, data, BUDGETS, strict=True))


def test_rows_of_a_server_have_the_features_of_their_images():
    client = Client()
    _, ids, *_ = generate("server", client)
    assert ids == [[len(prompt)] for prompt in PROMPTS]
    places = [[(1, 2)], [(1, 2)], None, [(1, 1), (3, 1)]]
    expected = [of_row and [{"offset": offset, "length": length} for offset, length in of_row] for of_row in places]
    assert [client.asked[tuple(prompt)] for prompt in PROMPTS] == list(zip(expected, BUDGETS, strict=True))


def test_rows_that_an_engine_mixes_up_are_refused():
    with pytest.raises(RuntimeError, match="vLLM gave back rows that do not go on from their prompts, 4 of 4"):
        generate("colocate", Engine(is_mixed_up=True))
