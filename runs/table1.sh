#!/usr/bin/env bash
# Table 1; arguments as runs/tables.sh, which makes both tables and the figures.
TABLES=1 FIGURES="" exec "$(dirname "$0")/tables.sh" "$@"
