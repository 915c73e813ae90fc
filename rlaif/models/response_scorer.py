"""One number per response from a sequence-classification model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.data.examples import completion_ids, pad_id, pad_right, prompt_ids
from rlaif.models.tokenizers import PromptTokenizer
from rlaif.tasks.base import Task, get_task
from rlaif.types import Completion, Prompt


def classifier_logits(model: PreTrainedModel, input_ids_BT: Tensor) -> Tensor:
    """The model's own outputs at the last token of each row.

    Args:
        model: ``AutoModelForSequenceClassification`` with ``config.pad_token_id``.
        input_ids_BT: Right-padded with that id; causal models need no mask.

    Returns:
        [B, outputs] in float32.
    """
    logits: Tensor = model(input_ids=input_ids_BT, use_cache=False).logits
    return logits.float()


class ResponseScorer:
    """Scores prompt and response, in batches of similar lengths.

    Args:
        model: A sequence classifier; it is put into evaluation mode and its gradients are switched off.
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
        pad = model.config.get_text_config().pad_token_id
        self.pad_id = pad_id(tokenizer) if pad is None else pad
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
            ids_BT, _ = pad_right([sequences[row] for row in rows], self.pad_id)
            scores_B[rows] = classifier_logits(self.model, ids_BT.to(self.model.device))[:, self.output].cpu()
        return scores_B

    def _sequence(self, prompt: Prompt, response: Completion) -> list[int]:
        (prompt_row,) = prompt_ids(self.tokenizer, self.task or get_task(prompt.task), [prompt])
        response_row = completion_ids(self.tokenizer, response)
        return prompt_row[-max(1, self.max_length - len(response_row)) :] + response_row
