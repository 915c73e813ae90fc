"""One number per response from a sequence-classification model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GenericForSequenceClassification

from rlaif.data.examples import completion_ids, pad_right, prompt_ids
from rlaif.models.tokenizers import PromptTokenizer
from rlaif.tasks.base import Task, get_task
from rlaif.types import Completion, Prompt


def classifier_logits(model: PreTrainedModel, input_ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """The model's own outputs for each row, whatever the rows beside it are.

    Args:
        model: ``AutoModelForSequenceClassification`` with ``config.pad_token_id``.
        input_ids_BT: Right-padded with any id.
        lengths_B: Tokens per row without padding.

    Returns:
        [B, outputs] in float32.
    """
    mask_BT = torch.arange(input_ids_BT.shape[1], device=input_ids_BT.device) < lengths_B[:, None]
    padded_BT = input_ids_BT.masked_fill(~mask_BT, model.config.get_text_config().pad_token_id)
    # Attention without a mask is faster, and a decoder's last token sees no padding to its right anyway.
    attention_mask = None if isinstance(model, GenericForSequenceClassification) else mask_BT.long()
    logits: Tensor = model(input_ids=padded_BT, attention_mask=attention_mask, use_cache=False).logits
    return logits.float()


class ResponseScorer:
    """Scores prompt and response, in batches of similar lengths.

    Args:
        model: A sequence classifier with ``config.pad_token_id``, as :mod:`rlaif.models.load` gives it; it is put into
            evaluation mode and its gradients are switched off.
        tokenizer: The model's.
        batch_size: Responses per forward pass.
        max_length: Tokens of prompt and response; a longer prompt is cut from the left.
        output: Which of the classifier's outputs is the score.
        task: Says how a prompt is written; None takes each prompt's own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int,
        max_length: int,
        output: int = 0,
        task: Task | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = PromptTokenizer(tokenizer)
        self.batch_size = batch_size
        self.max_length = max_length
        self.output = output
        self.task = task

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> Tensor:
        """Scores [B] as the model gives them, float32 on the CPU."""
        sequences = [self._sequence(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        order = sorted(range(len(sequences)), key=lambda row: (len(sequences[row]), row))
        scores_B = torch.empty(len(sequences))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = pad_right([sequences[row] for row in rows], pad_id=0)
            ids_BT, lengths_B = (part.to(self.model.device) for part in batch)
            scores_B[rows] = classifier_logits(self.model, ids_BT, lengths_B)[:, self.output].cpu()
        return scores_B

    def _sequence(self, prompt: Prompt, response: Completion) -> list[int]:
        (prompt_row,) = prompt_ids(self.tokenizer, self.task or get_task(prompt.task), [prompt])
        response_row = completion_ids(self.tokenizer, response)
        return prompt_row[-max(1, self.max_length - len(response_row)) :] + response_row
