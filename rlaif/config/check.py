"""Check a command line before anything heavy is imported, and report every problem at once.

Hydra stops at its first error. Here each override is looked at on its own (group, option, key, type),
what is sound is composed, and the composed config is compared with the constructors that will get it.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rlaif.config.hydra_internals import ConfigLoaderImpl, IConfigRepository
from rlaif.config.limits import limit_problems
from rlaif.config.loader import open_loader
from rlaif.config.overridden import overridden_problems
from rlaif.config.overrides import OptionCheck, key_problem
from rlaif.config.places import directory_problems, place_problems
from rlaif.config.secrets import secret_problems, without_secrets
from rlaif.config.stage_values import stage_value_problems
from rlaif.config.trainer_options import trainer_problems
from rlaif.config.training_length import GROUPS, length_problems
from rlaif.config.unread import removed_problems, unread_problems
from rlaif.config.values import value_problems
from rlaif.config.without_effect import without_effect_problems
from rlaif.errors import ConfigError

MAX_SWEEP_VALUES = 16
"""Values of one sweep that are checked one by one; a longer range is checked at its first ones."""


@dataclass(kw_only=True)
class _Checker:
    loader: ConfigLoaderImpl
    config_name: str
    multirun: bool
    places: bool
    problems: dict[str, None] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    """Config paths whose option was refused: nothing is known of the keys below them."""
    unread: set[str] = field(default_factory=set)
    """Keys of lines that are no override."""
    swept: set[str] = field(default_factory=set)
    """Options with several values."""
    composed: dict[tuple[str, ...], DictConfig] = field(default_factory=dict)

    def report(self, lines: Sequence[str]) -> None:
        self.problems.update(dict.fromkeys(map(without_secrets, lines)))


def check(
    overrides: Sequence[str],
    *,
    multirun: bool = False,
    places: bool = True,
    config_name: str = "config",
    config_dir: str | None = None,
) -> list[str]:
    """Everything that is wrong with a command line.

    Args:
        overrides: As typed, e.g. ``["task=dialogue", "policy.lr=1e-4"]``.
        multirun: True under ``-m``, where commas make sweeps.
        places: Whether files, models and output directories are looked at too.
        config_name: Root config.
        config_dir: Another directory with configs (``--config-dir``).

    Returns:
        One line per problem, each naming the option as typed; empty when the run can start.
    """
    checker, _ = _check(overrides, multirun=multirun, places=places, config_name=config_name, config_dir=config_dir)
    return list(checker.problems)


def compose(overrides: Sequence[str], *, config_dir: str | None = None) -> DictConfig:
    """The config of a command line without sweeps, checked.

    Args:
        overrides: As typed.
        config_dir: Another directory with configs (``--config-dir``).

    Raises:
        ConfigError: With every problem.
    """
    checker, cfg = _check(overrides, multirun=False, places=False, config_name="config", config_dir=config_dir)
    if checker.problems:
        raise ConfigError(list(checker.problems))
    return cfg


def _check(
    overrides: Sequence[str], *, multirun: bool, places: bool, config_name: str, config_dir: str | None
) -> tuple[_Checker, DictConfig]:
    """What is wrong, and the configuration of the overrides that are not; of a sweep, that of its first values."""
    loader, plugin_problems = open_loader(config_dir)
    checker = _Checker(loader=loader, config_name=config_name, multirun=multirun, places=places)
    checker.report(plugin_problems)
    parsed = _parse(checker, overrides)
    modes = [override.value() for override in parsed if override.key_or_group == "hydra.mode"]
    checker.multirun = multirun or "MULTIRUN" in modes
    searchpath = [line for line in overrides if line.lstrip("+").startswith("hydra.searchpath=")]
    _, repository = checker.loader._parse_overrides_and_create_caching_repo(config_name, searchpath)
    options = OptionCheck(repository)
    groups, values = _split(checker, repository, options, parsed)
    configs = [_check_variant(checker, options, *chosen) for chosen in _variants(groups, values)]
    return checker, configs[0]


def _parse(checker: _Checker, lines: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create(config_loader=checker.loader)
    parsed = []
    for line in lines:
        try:
            parsed += parser.parse_overrides([line])  # unlike parse_override, it sets the loader, which glob() asks
        except HydraException as error:
            reason = str(error).splitlines()[0]
            told = "" if reason.startswith("Lexer") else f" ({reason})"  # the lexer says no more than the line itself
            checker.report([f"{line}: cannot be read as an override{told}; {_remedy(line, parser)}"])
            checker.unread.add(line.partition("=")[0])
    return parsed


def _remedy(line: str, parser: OverridesParser) -> str:
    """What to write in the place of a line that is no override."""
    key, sign, value = line.partition("=")
    if not sign:
        return "write key=value"
    escaped = value.replace("'", r"\'")
    quoted = f"{key}='{escaped}'"
    try:
        read = parser.parse_overrides([quoted])[0].value()
    except HydraException:
        read = None
    if read != value or value.startswith(("{", "[")):  # of a list or mapping each text has quotes of its own
        return "quote a value with special characters: \"key='a=b'\""
    return f"its value has special characters: type {_double_quoted(quoted)}"


def _double_quoted(text: str) -> str:
    """A word as it is typed in a shell."""
    return shlex.quote(text) if any(mark in text for mark in '"$`!\\') else f'"{text}"'


def _split(
    checker: _Checker, repository: IConfigRepository, options: OptionCheck, parsed: Sequence[Override]
) -> tuple[list[list[Override]], list[list[Override]]]:
    """Sound overrides that choose options, and those that set values; each as its alternatives in a sweep."""
    groups, values = [], []
    for override in parsed:
        if override.is_sweep_override() and not checker.multirun:
            checker.report([f"{override.input_line}: several values make a sweep; add -m, or write a list as [a,b]"])
        is_group = repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)
        alternatives = _alternatives(override)
        if len(alternatives) > 1:
            checker.swept.add(override.key_or_group)
        if is_group:
            sound = []
            for alternative in alternatives:
                problem = options.problem(alternative)
                if problem is None:
                    sound.append(alternative)
                else:
                    checker.report([problem])
                    checker.doubtful.add(alternative.key_or_group.replace("/", "."))
            groups += [sound] if sound else []
        elif override.package is not None or "/" in override.key_or_group:
            checker.report([options.no_such_group(override)])
        else:
            values.append(alternatives)
    return groups, values


def _alternatives(override: Override) -> list[Override]:
    if not override.is_sweep_override():
        return [override]
    if not override.is_discrete_sweep():
        interval = override.value()
        lines = [f"{override.get_key_element()}={getattr(interval, 'start', None)}"]
    else:
        lines = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return OverridesParser.create().parse_overrides(lines[:MAX_SWEEP_VALUES])


def _variants(
    groups: list[list[Override]], values: list[list[Override]]
) -> list[tuple[list[Override], list[Override]]]:
    """The first value of every sweep together, then each other value alone beside the first ones."""
    every = groups + values
    first = [alternatives[0] for alternatives in every]
    choices = [first]
    for index, alternatives in enumerate(every):
        choices += [[*first[:index], other, *first[index + 1 :]] for other in alternatives[1:]]
    return [(chosen[: len(groups)], chosen[len(groups) :]) for chosen in choices]


def _check_variant(
    checker: _Checker, options: OptionCheck, groups: list[Override], values: list[Override]
) -> DictConfig:
    """Report what is wrong with one configuration; it comes without Hydra's own node."""
    cfg = _compose_groups(checker, options, groups)
    for override in values:
        problem = key_problem(cfg, override, options)
        if problem is None:
            try:
                ConfigLoaderImpl._apply_overrides_to_config([override], cfg)
                continue
            except (HydraException, OmegaConfBaseException) as error:
                cause = error.__cause__ or error.__context__ or error
                problem = f"{override.input_line}: {str(cause).splitlines()[0]}"
        if not any(f"{override.key_or_group}.".startswith(f"{path}.") for path in checker.doubtful):
            checker.report([problem])
    HydraConfig.instance().set_config(cfg)
    choices = {str(group): option for group, option in cfg.hydra.runtime.choices.items()}
    checker.report(options.selection_problems(choices))
    run_option = "hydra.sweep.dir" if checker.multirun else "hydra.run.dir"
    run_dir = _resolved(cfg, run_option)
    if cfg.hydra.job.chdir:
        checker.report(
            ["hydra.job.chdir=true: relative paths mean the directory that the command is started in; leave it out"]
        )
    with open_dict(cfg):
        del cfg["hydra"]
    checker.report([line for line in value_problems(cfg) if line.partition(": ")[0] not in checker.unread])
    checker.report(stage_value_problems(cfg))
    checker.report(list(unread_problems(cfg)))
    deletions = [override for override in groups + values if override.is_delete()]
    removed = {override.key_or_group.replace("/", "."): str(override.input_line) for override in deletions}
    checker.report(list(removed_problems(cfg, removed, {group.replace("/", ".") for group in options.groups})))
    checker.report(limit_problems(cfg))
    checker.report(trainer_problems(cfg))
    declared = {group: options.declared(group, choices.get(group), "epochs") for group in GROUPS}
    typed = {override.key_or_group for override in values}
    checker.report(list(length_problems(cfg, typed, declared)))

    def in_file(group: str, key: str) -> object:
        return options.declared(group, choices.get(group), key)

    checker.report(list(without_effect_problems(cfg, typed, checker.swept, in_file)))
    checker.report(list(overridden_problems(cfg, typed)))
    checker.report(secret_problems(cfg))
    if checker.places:
        checker.report(place_problems(cfg))
        for option, value in ((run_option, run_dir), ("store.dir", _resolved(cfg, "store.dir"))):
            if value is not None:
                checker.report(directory_problems(option, value))
    return cfg


def _resolved(cfg: DictConfig, key: str) -> str | None:
    try:
        value = OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        return None
    return None if value is None else str(value)


def _compose_groups(checker: _Checker, options: OptionCheck, groups: list[Override]) -> DictConfig:
    """Compose the chosen options; one that does not compose is reported and left out."""
    lines = [str(override.input_line) for override in groups]
    key = tuple(lines)
    while key not in checker.composed:
        try:
            cfg = checker.loader.load_configuration(
                checker.config_name, lines, RunMode.RUN, from_shell=False, validate_sweep_overrides=False
            )
            with open_dict(cfg.hydra):
                cfg.hydra.runtime.output_dir = "outputs"
            checker.composed[key] = cfg
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            if not lines:
                raise ConfigError(f"{checker.config_name}: {error}") from error
            culprit = _culprit(lines, str(error))
            checker.report([options.composition_problem(culprit, error)])
            lines.remove(culprit)
            if tuple(lines) in checker.composed:
                checker.composed[key] = checker.composed[tuple(lines)]
    return copy.deepcopy(checker.composed[key])


def _culprit(lines: list[str], message: str) -> str:
    """The override that a composition error speaks of; the last one when it names none."""
    named = [line for line in lines if f"'{line.lstrip('+~').partition('=')[0]}'" in message]
    return named[0] if named else lines[-1]
