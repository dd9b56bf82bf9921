"""`llm`, the command line tool, told of the server in its own configuration file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "extra-openai-models.yaml").write_text(
            f"- model_id: ours\n  model_name: openai/gpt-test\n  api_base: {url}/v1\n  api_key_name: ours\n"
        )
        environ = {**os.environ, "LLM_USER_PATH": folder}
        program = Path(sys.executable).with_name("llm")
        for options in ((), ("--no-stream",)):
            done = subprocess.run(
                [str(program), "-m", "ours", "--key", "any", *options, "Say hello"],
                env=environ,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stdout.strip() == "Say hello", done.stderr


if __name__ == "__main__":
    main(sys.argv[1])
