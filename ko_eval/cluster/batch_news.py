"""What changed in a batch since one looked last, told in a line per model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ko_eval.cluster.batch_record import LOG_FILE, Job, JobRecord, read_job

Say = Callable[[str], None]


@dataclass(slots=True)
class News:
    """Reads the states of a batch's models.

    Attributes:
        directory: of the batch.
        say: takes a line for the user.
    """

    directory: Path
    say: Say
    _seen: dict[str, tuple[str, int]] = field(default_factory=dict)

    def look(self, jobs: Sequence[Job]) -> dict[str, JobRecord]:
        """The states by name, those of another plan left out; tells those that changed."""
        found: dict[str, JobRecord] = {}
        for job in jobs:
            record = read_job(self.directory, job.name)
            if record is None or record.key != job.key:
                continue
            found[job.name] = record
            seen = (record.state, record.attempts)
            if self._seen.get(job.name, ("waiting", 0)) != seen and record.state != "waiting":
                self.say(self._line(record))
            self._seen[job.name] = seen
        return found

    def _line(self, record: JobRecord) -> str:
        line = f"{record.name}: {record.state}"
        match record.state:
            case "running":
                again = f", attempt {record.attempts}" if record.attempts > 1 else ""
                gpus = record.environment.get("CUDA_VISIBLE_DEVICES")
                return f"{line} on {record.host}{f', GPUs {gpus}' if gpus else ''}{again}"
            case "failed":
                log = self.directory / record.name / LOG_FILE
                return f"{line}: {_in_a_line(record.error)}\n  log: {log}"
        return line


def _in_a_line(error: Sequence[str]) -> str:
    """A message of ours says what is wrong in its first line, a traceback in its last."""
    ours = [line for line in error[:1] if line.startswith("error: ")]
    return (ours or error[-1:] or [""])[0].removeprefix("error: ").strip()
