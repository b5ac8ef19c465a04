#!/usr/bin/env bash
# Figures of tables that are made, SCALE DATA OUT as runs/tables.sh, which makes both tables and the figures.
TABLES="" exec "$(dirname "$0")/tables.sh" "$@"
