# Sourced by the other scripts: creates .venv if it is missing and installs the project into it.
# `install_project` or `install_project dev`; does nothing if pyproject.toml has not changed since.

# pip compiles nothing: each module is compiled when it is first imported, which needs this to be unset.
unset PYTHONDONTWRITEBYTECODE

find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11 python; do
    if command -v "$name" >/dev/null 2>&1 &&
      "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "cellnas needs Python 3.11 or newer, and none of python3, python3.13, python3.12, python3.11 is." >&2
  return 1
}

install_project() {
  local extras="${1:-}" python stamp sum
  stamp=".venv/.installed${extras:+-$extras}"
  sum="$(cksum <pyproject.toml) $PWD"
  # an installation for development includes that for use
  [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] || [ "$(cat .venv/.installed-dev 2>/dev/null)" = "$sum" ] && return
  if [ ! -x .venv/bin/python ]; then
    python="$(find_python)" || return 1
    "$python" -m venv .venv || return 1
  fi
  echo "Installing cellnas and PyTorch into .venv (once; PyTorch is a download of some GB) …" >&2
  local options=(--no-compile --disable-pip-version-check --quiet)
  [ -t 2 ] && options[2]="--progress-bar=on"
  .venv/bin/python -m pip install "${options[@]}" torch torchvision || return 1
  .venv/bin/python -m pip install "${options[@]}" -e ".${extras:+[$extras]}" || return 1
  echo "$sum" >"$stamp"
}
