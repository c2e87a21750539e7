#!/bin/sh
# Prints the first working interpreter of the versions named, e.g. `find_python.sh 3.12 3.11`.
# Looks on PATH first, then below pyenv; a pyenv shim whose version is not active does not count.
for version in "$@"; do
    for candidate in "python$version" \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/"python$version"; do
        found=$(command -v "$candidate" 2>/dev/null) || continue
        if "$found" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" \
            2>/dev/null; then
            echo "$found"
            exit 0
        fi
    done
done
exit 1
