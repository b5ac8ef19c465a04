#!/usr/bin/env bash
# Table 2; arguments as runs/tables.sh, which makes both tables and the figures.
TABLES=2 FIGURES="" exec "$(dirname "$0")/tables.sh" "$@"
