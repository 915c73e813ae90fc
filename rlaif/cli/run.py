"""``rlaif-run``: compose the config with Hydra, check it, run the stages."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

import rlaif
from rlaif.cli.messages import error_to_tell, print_problems, report_error
from rlaif.cli.pipes import ignore_closed_pipes
from rlaif.cli.sweeps import ERROR, print_job_configs, show_tables
from rlaif.cli.threads import choose_waiting
from rlaif.conf_files import conf_dir
from rlaif.config.check import check
from rlaif.config.hydra_internals import get_args_parser
from rlaif.config.jobs import claim_directories
from rlaif.config.run_directory import as_typed
from rlaif.config.secrets import without_secrets
from rlaif.errors import ConfigError, RlaifError
from rlaif.interruption import raise_on_sigterm

COMMAND = "rlaif-run"


class JobError(Exception):
    """A job ended with an error that has already been printed.

    Args:
        exit_code: What the command exits with.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def run_job(cfg: DictConfig) -> float | None:
    """One job of the command or of a sweep.

    Returns:
        The figure that an optimizing sweeper maximizes; None when the pipeline stops before it.

    Raises:
        JobError: The user's error, or a gate; the message is already on the terminal.
    """
    job = HydraConfig.get()
    failure = Path(job.runtime.output_dir) / ERROR
    failure.unlink(missing_ok=True)
    if job.mode == RunMode.MULTIRUN:
        overrides = " ".join(map(as_typed, job.overrides.task)) or "no overrides"
        Console(stderr=True).print(Rule(Text(f"job {job.job.num}: {overrides}"), align="left"))
    try:
        from rlaif.pipeline.run import run  # torch and Lightning: seconds, and only a job needs them

        return run(cfg)
    except (Exception, SystemExit) as error:  # a plugin may end the process
        if job.mode == RunMode.MULTIRUN:
            failure.write_text(f"{error_to_tell(error)}\n", encoding="utf-8", errors="replace")
        code = report_error(COMMAND, error)
        if code is not None:
            raise JobError(code) from None
        _log_traceback(failure.parent / f"{job.job.name}.log", error)
        note = f"{COMMAND}: unexpected error; log and config are in {job.runtime.output_dir}"
        error.add_note(note)
        raise


def _log_traceback(log: Path, error: BaseException) -> None:
    text = "".join(traceback.format_exception(error))
    # A full disk must not hide the error itself.
    with suppress(OSError), log.open("a", encoding="utf-8", errors="replace") as file:
        file.write("".join(map(without_secrets, text.splitlines(keepends=True))))


def main() -> NoReturn:
    """Entry point of the console command."""
    choose_waiting()
    ignore_closed_pipes()
    raise_on_sigterm()
    arguments = sys.argv[1:]
    if "--version" in arguments:
        print(f"rlaif {rlaif.__version__}")
        sys.exit(0)
    try:
        sys.exit(_main(arguments))
    except JobError as error:
        sys.exit(error.exit_code)
    except (RlaifError, OSError, KeyboardInterrupt) as error:
        code = report_error(COMMAND, error)
        if code is None:
            raise
        sys.exit(code)
    except HydraException as error:
        print_problems(COMMAND, [" ".join(str(error).split())])
        sys.exit(RlaifError.exit_code)


def _main(arguments: list[str]) -> int:
    parsed = get_args_parser().parse_args(arguments)
    if parsed.config_path is not None:
        raise ConfigError(
            f"--config-path={parsed.config_path}: would leave out the configuration of rlaif; a directory with further"
            f" options is --config-dir={parsed.config_path}"
        )
    _refuse_flags_together(parsed)
    prints_only = parsed.cfg is not None or parsed.help or parsed.info is not None
    if not (parsed.hydra_help or parsed.shell_completion or parsed.experimental_rerun):
        name, directory = parsed.config_name or "config", parsed.config_dir
        problems = check(
            parsed.overrides,
            multirun=parsed.multirun,
            places=not prints_only,
            config_name=name,
            config_dir=directory,
        )
        if problems:
            print_problems(COMMAND, problems)
            return RlaifError.exit_code
        if parsed.multirun and parsed.cfg is not None:
            print_job_configs(parsed)
            return 0
        if not prints_only:
            _refuse_torchrun()
            claim_directories(parsed.overrides, multirun=parsed.multirun, config_name=name, config_dir=directory)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra re-raises what a job raised instead of printing and exiting 1
    failed: list[int] = []

    def job(cfg: DictConfig) -> float | None:
        try:
            return run_job(cfg)
        except JobError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # stops the sweep; Hydra names the job's overrides
            failed.append(error.exit_code)  # a raised error would make Hydra print a line of its own after ours
            return None

    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
    finally:
        show_tables()
    return failed[0] if failed else 0


def _refuse_flags_together(parsed: argparse.Namespace) -> None:
    """Refuse flags that Hydra does not take together; ``-m --cfg`` prints the configuration of every job.

    Raises:
        ConfigError: They are.
    """
    if parsed.resolve and parsed.cfg is None and not parsed.help:
        raise ConfigError("--resolve: goes with --cfg job, whose interpolations it fills in")
    flags = {
        "--run": parsed.run,
        "--multirun": parsed.multirun,
        "--cfg": parsed.cfg is not None,
        "--info": parsed.info is not None,
        "--shell-completion": parsed.shell_completion,
    }
    given = [flag for flag, is_given in flags.items() if is_given]
    if len(given) > 1 and given != ["--multirun", "--cfg"]:
        raise ConfigError(f"{' '.join(given)}: give one of these flags")


def _refuse_torchrun() -> None:
    """Refuse to be one of several processes of torchrun, which would wait for each other.

    Raises:
        ConfigError: This process is one.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if "LOCAL_RANK" in os.environ and count != "1":
        raise ConfigError(
            f"WORLD_SIZE={count}: torchrun or a launcher like it starts rlaif-run {count} times; start it once: with"
            f" trainer=ddp trainer.devices={count} it starts its own processes"
        )


if __name__ == "__main__":
    main()
