"""The worker of a Ray cluster.

Ray sends the class by its code: a node may find cellnas only after `place` has extended its import path.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Setup(NamedTuple):
    """What a worker takes over from the process that runs the search.

    Args:
        path: Import path.
        folder: Current folder; empty if it was deleted.
        variables: Environment variables that libraries read when they are imported.
        main: What `multiprocessing.spawn.prepare` needs to import the user's script; empty if no part is defined there.
    """

    path: tuple[str, ...]
    folder: str
    variables: dict[str, str]
    main: dict[str, Any]


def worker_class() -> type:
    """The class of the actors."""

    class Worker:
        """Prepares a function, then does one task after another; answers are those of `nas.executors.messages`."""

        def place(self, setup: tuple[tuple[str, ...], str, dict[str, str], dict[str, Any]]) -> tuple[str, str]:
            """Take over the surroundings of the search; returns the id and the address of the node."""
            import os
            import sys
            from contextlib import suppress

            import ray

            path, folder, variables, self.main = setup
            sys.path.extend(entry for entry in path if entry not in sys.path)
            os.environ.update(variables)
            if folder:
                with suppress(OSError):
                    os.chdir(folder)
            address: Any = ray.util.get_node_ip_address  # without annotations
            return ray.get_runtime_context().get_node_id(), str(address())

        def prepare(self, make: bytes) -> tuple[bytes, list[str]]:
            """Create the function for the tasks."""
            import multiprocessing
            import os
            import pickle
            import sys
            import warnings
            from multiprocessing import spawn

            from nas.executors.messages import answer, dumps

            self.messages: list[str] = []
            warnings.showwarning = lambda message, *_args, **_more: self.messages.append(str(message))
            process: Any = multiprocessing.current_process()
            process._inheriting = True  # as in a spawned process that imports the user's script
            try:
                if self.main:
                    spawn.prepare(self.main)
                made = pickle.loads(make)
            except SystemExit:
                return dumps(("unguarded", None)), []
            except Exception as error:  # noqa: BLE001 (an import may raise anything)
                return dumps(("import", f"{type(error).__name__}: {' '.join(str(error).split())}")), []
            finally:
                process._inheriting = False
            if "torch" in sys.modules:  # also where Ray had used this process before
                sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

            def create() -> None:
                self.function = made()

            return self._with_messages(answer(create, dumps))

        def run(self, task: bytes) -> tuple[bytes, list[str]]:
            """Do a task."""
            import pickle

            from nas.executors.messages import answer, dumps

            return self._with_messages(answer(lambda: self.function(pickle.loads(task)), dumps))

        def _with_messages(self, reply: bytes) -> tuple[bytes, list[str]]:
            said, self.messages = self.messages, []
            return reply, said

    return Worker
