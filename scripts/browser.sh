# Sourced by scripts/check: finds Chromium and its driver for the tests of pages, and says so in one line.
# Debian's are installed if they are missing, apt is there, and root runs this. With a browser no such test may skip.

has_browser() {
  command -v chromedriver >/dev/null 2>&1 || return 1
  command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1
}

prepare_browser() {
  if ! has_browser && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing Chromium for the tests of pages (once; 120 MB, 20 s) …" >&2
    { apt-get update -qq || true; } >&2  # one source without an answer is no reason to stop
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 chromium chromium-driver >/dev/null || true
  fi
  if has_browser; then
    export NAS_REQUIRE_BROWSER=1
    echo "Tests of pages use $(chromedriver --version 2>/dev/null | cut -d' ' -f1-2)." >&2
  else
    echo "Tests of pages are skipped: they need Chromium and its driver (apt-get install chromium chromium-driver)." >&2
  fi
}
