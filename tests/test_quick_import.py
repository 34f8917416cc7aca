"""transformers is imported without what only other uses of it need."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_scikit_learn_is_left_out_and_can_still_be_imported() -> None:
    code = (
        "import sys\n"
        "from ko_eval.engines.quick_import import import_transformers\n"
        "import_transformers()\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM\n"
        "print('sklearn' in sys.modules)\n"
        "import_transformers()\n"
        + ("import sklearn\n" if importlib.util.find_spec("sklearn") else "")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
