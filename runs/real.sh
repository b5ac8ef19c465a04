#!/usr/bin/env bash
# From folders of real recordings to a report, resumable: run it again after any interruption.
#   runs/real.sh DATA OUT [--set a.b=c ...]
# DATA holds librispeech/ (LibriSpeech layout and alignments/*.ctm), esc10/ (ESC-50 layout) and speech.csv, a table of
# more speech (path, speaker, text) for training the encoder.
set -euo pipefail
data=${1:?usage: runs/real.sh DATA OUT [--set a.b=c ...]}
out=${2:?usage: runs/real.sh DATA OUT [--set a.b=c ...]}
shift 2
here=$(cd "$(dirname "$0")/.." && pwd)
phonemi=${PHONEMI:-$here/.venv/bin/phonemi}
[ -x "$phonemi" ] || phonemi=phonemi

mkdir -p "$out"
manifest() { # NAME ARGUMENTS...: prepared once
    local name=$1
    shift
    [ -f "$out/$name.jsonl" ] || "$phonemi" prepare "$@" -o "$out/$name.jsonl"
}
manifest speech librispeech "$data/librispeech/LibriSpeech" --alignments "$data/librispeech/alignments/phones.ctm"
manifest noise esc50 "$data/esc10"
set -- --set "data.speech=['$out/speech.jsonl']" --set "data.noise=['$out/noise.jsonl']" "$@"
if [ -f "$data/speech.csv" ]; then
    alignments=()
    for ctm in "$data"/*/alignments/*.ctm; do
        alignments+=(--alignments "$ctm")
    done
    manifest more folder "$data" --table "$data/speech.csv" "${alignments[@]}"
    set -- --set "data.encoder_speech=['$out/more.jsonl']" "$@"
fi

for stage in pretrain information aggregate train evaluate; do
    "$phonemi" "$stage" --run "$out" --config "$here/runs/real.yaml" "$@"
done
"$phonemi" report "$out"
