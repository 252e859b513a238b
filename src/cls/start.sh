#!/usr/bin/env bash
# Runs in the IRIS container once IRIS has started: classes, table, settings.py, and the production.
set -euo pipefail
root=/irisdev/app

if [ -z "${IRISPASSWORD:-}" ]; then
  echo "Set IRIS_PASSWORD, then start again: IRIS_PASSWORD=... docker compose --profile iris up" >&2
  exit 1
fi

iop --init
irispython - "$root" <<'PYTHON'
import sys

import iris

root = sys.argv[1]
iris.check_status(iris.cls("%SYSTEM.OBJ").LoadDir(root + "/src/cls", "ck", "", 1))
iris.check_status(iris.cls("Wattbus.Installer").Setup(root))
PYTHON
iop --default Wattbus.SustainableML
iop --start --detach
