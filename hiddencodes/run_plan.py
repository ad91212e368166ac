"""What a run folder was begun with, and how many draws it is to have: ``plan.json``."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from hiddencodes.sampling.checkpoint import differences, write_atomically
from hiddencodes.schema import Study
from hiddencodes.study import parse_study


class Plan(NamedTuple):
    """The content of ``plan.json``.

    Attributes:
        study: The study, as plain data, with its paths resolved.
        as_written: The study in the folder's ``study.toml``.
        draws: Stored draws per chain, with what has been added since.
    """

    study: dict[str, Any]
    as_written: dict[str, Any]
    draws: int


def write_plan(folder: Path, plan: Plan) -> None:
    """Write ``plan.json``, as a whole or not at all."""
    write_atomically(folder / "plan.json", json.dumps(plan._asdict(), indent=1).encode())


def read_plan(folder: Path) -> Plan:
    """Read ``plan.json``.

    Raises:
        ValueError: If the folder is not one that can be gone on with.
    """
    try:
        return Plan(**json.loads((folder / "plan.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ValueError(
            f"{folder} is not a run folder that can be gone on with: it has no plan.json"
        ) from None
    except (json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / 'plan.json'} is damaged ({error})") from error


def extend_plan(folder: Path, by: int) -> int:
    """The draws that every network is to have, with some added; read when no other process can add any."""
    plan = read_plan(folder)
    if by:
        plan = plan._replace(draws=plan.draws + by)
        write_plan(folder, plan)
    return plan.draws


def plain(study: Study) -> dict[str, Any]:
    """A study as plain data, which finds its files from any working directory."""
    data = study.model_dump(mode="json")
    if data["task"].get("path") is not None:
        data["task"]["path"] = str(Path(data["task"]["path"]).resolve())
    return data


def as_written(folder: Path) -> dict[str, Any]:
    """The study file of a run folder as plain data, wherever the folder is."""
    path = folder / "study.toml"
    return parse_study(path.read_text(encoding="utf-8"), str(path)).model_dump(mode="json")


def refuse_another(folder: Path, what: str, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse a study that is not the one that a run was begun with.

    Args:
        folder: The run folder.
        what: What the study is, for the message.
        begun: The study that it was begun with, as plain data.
        now: The other one.

    Raises:
        ValueError: If they differ, with what differs.
    """
    lines = differences(begun, now)
    if lines:
        raise ValueError(
            f"{folder}: {what} is not the study that the run was begun with; what differs:\n  "
            + "\n  ".join(lines)
        )
