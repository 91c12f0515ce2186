"""`python -m training <command>`: the commands of this stage, as `langmod <command>`."""

from langmod.command_line import run
from training.commands import app

if __name__ == "__main__":
    run(app)
