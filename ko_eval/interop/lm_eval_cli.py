"""lm-eval's command line with our model in it: `python -m ko_eval.interop.lm_eval_cli run …`.

For versions of lm-evaluation-harness that do not look for models among the entry points of
installed packages; 0.4.13 does not. Later ones find ours, and `lm-eval run --model ko-eval` does.
"""

from __future__ import annotations

import sys


def main() -> None:
    """lm-eval's own entry point, after our model is known to it."""
    try:
        from lm_eval.__main__ import cli_evaluate

        # Registers the model.
        import ko_eval.interop.lm_eval_model  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "lm_eval":
            raise
        sys.exit("error: lm-eval is not installed\n  to do: pip install 'ko-eval[lm-eval]'")
    from ko_eval.errors import KoEvalError

    try:
        cli_evaluate()
    except KoEvalError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
