"""One number per response from a sequence-classification model."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification

from rlaif.data.batches.examples import pad_right
from rlaif.inference.adapters import without_wrapper
from rlaif.inference.micro_batches import cut_by_tokens, max_tokens_to_read
from rlaif.inference.pairs import PairRows, is_worth_sharing, reads_pairs
from rlaif.models.classifier_text import ClassifierInput, ClassifierText
from rlaif.types import Completion, Prompt


def classifier_logits(
    model: PreTrainedModel, input_ids_BT: Tensor, lengths_B: Tensor, *, type_ids_BT: Tensor | None = None
) -> Tensor:
    """The model's own outputs for each row, independent of the other rows.

    Args:
        model: ``AutoModelForSequenceClassification`` with ``config.pad_token_id``.
        input_ids_BT: Right-padded with any id.
        lengths_B: Tokens per row without padding.
        type_ids_BT: Which of two texts each token belongs to, for a model that asks for it.

    Returns:
        [B, outputs] in float32.
    """
    mask_BT = torch.arange(input_ids_BT.shape[1], device=input_ids_BT.device) < lengths_B[:, None]
    padded_BT = input_ids_BT.masked_fill(~mask_BT, model.config.get_text_config().pad_token_id)
    # Attention without a mask is faster, and a decoder's last token sees no padding to its right anyway.
    attention_mask = None if isinstance(model, GenericForSequenceClassification) else mask_BT.long()
    more = {} if type_ids_BT is None else {"token_type_ids": type_ids_BT}
    logits: Tensor = model(input_ids=padded_BT, attention_mask=attention_mask, use_cache=False, **more).logits
    return logits.float()


def pair_logits(
    model: PreTrainedModel,
    first_ids_BT: Tensor,
    first_lengths_B: Tensor,
    second_ids_BT: Tensor,
    second_lengths_B: Tensor,
    prompt_lengths_B: Tensor,
) -> Tensor:
    """As :func:`classifier_logits` of both texts of each pair; where the model allows it, their prompt is read once.

    Args:
        model: ``AutoModelForSequenceClassification`` with ``config.pad_token_id``.
        first_ids_BT: Prompt and first response, padded on the right with any id.
        first_lengths_B: Tokens without padding.
        second_ids_BT: Prompt and second response.
        second_lengths_B: Tokens without padding.
        prompt_lengths_B: Tokens that both begin with.

    Returns:
        [2, B, outputs] in float32.
    """
    inner = without_wrapper(model)
    is_worth = is_worth_sharing(prompt_lengths_B, first_lengths_B, second_lengths_B)
    if not (is_worth and reads_pairs(inner) and hasattr(inner, "score")):
        sides = (first_ids_BT, first_lengths_B), (second_ids_BT, second_lengths_B)
        return torch.stack([classifier_logits(model, *side) for side in sides])
    rows = PairRows.of(first_ids_BT, first_lengths_B, second_ids_BT, second_lengths_B, prompt_lengths_B)
    last = rows.at(rows.hidden(inner), first_lengths_B[:, None] - 1, second_lengths_B[:, None] - 1)
    logits: Tensor = inner.get_submodule("score")(torch.stack(last).squeeze(2))
    return logits.float()


class ResponseScorer:
    """Scores prompt and response, in batches of similar lengths.

    Args:
        model: A sequence classifier with ``config.pad_token_id``, as :mod:`rlaif.models.load` gives it; it is put into
            evaluation mode and its gradients are switched off.
        text: Writes what it reads.
        batch_size: Responses per forward pass at most; fewer of long ones.
        output: Which of the classifier's outputs is the score.
    """

    def __init__(self, model: PreTrainedModel, text: ClassifierText, *, batch_size: int, output: int = 0) -> None:
        self.model = model.eval().requires_grad_(False)
        self.text = text
        self.batch_size = batch_size
        self.output = output
        self._takes_types = (
            text.text_format == "pair"
            and "token_type_ids" in text.tokenizer.tokenizer.model_input_names
            and "token_type_ids" in signature(model.forward).parameters
        )

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> Tensor:
        """Scores [B] as the model gives them, float32 on the CPU."""
        read = [self.text(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        scores_B = torch.empty(len(read))
        lengths = [len(row.ids) for row in read]
        for rows in cut_by_tokens(lengths, max_tokens_to_read(self.model), max_rows=self.batch_size):
            scores_B[rows] = self._scores([read[row] for row in rows])
        return scores_B

    def _scores(self, batch: Sequence[ClassifierInput]) -> Tensor:
        device = self.model.device
        ids_BT, lengths_B = (part.to(device) for part in pad_right([row.ids for row in batch], pad_id=0))
        types_BT = pad_right([row.type_ids for row in batch], pad_id=0)[0].to(device) if self._takes_types else None
        return classifier_logits(self.model, ids_BT, lengths_B, type_ids_BT=types_BT)[:, self.output].cpu()
