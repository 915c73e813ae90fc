"""The reward model: learns soft labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from rlaif.artifacts.curve import CURVE, read_curve
from rlaif.data.batches.modules import PreferenceDataModule
from rlaif.errors import ConfigError
from rlaif.functional.seeds import derive_seed
from rlaif.labeling.missing import reasons_in_words
from rlaif.labeling.results import read_labels
from rlaif.models.load import ModelSpec, load_reward_model, load_tokenizer
from rlaif.modules.reward_model import RewardModelSettings
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.roles import Reads
from rlaif.stages.supervised import train_supervised
from rlaif.tasks.base import Task
