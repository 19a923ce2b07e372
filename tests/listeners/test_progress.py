import sys

from conftest import MAXIMIZE

from nas.listeners.progress import Progress


def watched(trial, scores, total):
    progress = Progress()
    progress.start("first", [], total, MAXIMIZE)
    for number, score in enumerate(scores):
        progress.on_trial_end(trial(number, score))
    progress.close()


def test_a_terminal_gets_a_bar_with_the_incumbent(trial, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    watched(trial, [0.1, 0.4, None, 0.2], 4)
    shown = capsys.readouterr().err
    assert "best valid_accuracy 0.4000 (trial 1)" in shown
    assert "4/4" in shown
    assert "trial 2 failed: made to fail" in shown


def test_a_file_gets_lines_and_always_the_last_one(trial, capsys):
    watched(trial, [0.1, 0.4, 0.2], 3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "1/3 trials, best valid_accuracy 0.1000 (trial 0)"
    assert lines[-1] == "3/3 trials, best valid_accuracy 0.4000 (trial 1)"
