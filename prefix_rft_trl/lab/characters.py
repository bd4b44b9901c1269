"""The tokenizer of the lab's models."""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def character_tokenizer(alphabet: str, words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each of the characters and words, with `<pad>`, `<eos>` and `<unk>`."""
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", "<unk>", *words, *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    # Added tokens: `AutoTokenizer` gives a model of the Qwen2 architecture the words of its own pre-tokenizer
    tokenizer.add_tokens([AddedToken(word, special=False) for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=128,
    )
