#!/usr/bin/env bash
# The tables and figures of the main paper, resumable: run it again after any interruption.
#   runs/tables.sh paper CORPORA OUT [OPTIONS of phonemi table]
#       downloads into CORPORA what is not there (about 60 GB), prepares it, and makes every row at full size; hidden
#       states of the three encoders take another 290 GB in OUT/*/cache, which can be deleted when the tables are made
#   runs/tables.sh mini DATA OUT [OPTIONS of phonemi table]
#       the same code on little data: DATA holds librispeech/ and esc10/ as runs/real.sh describes
#   runs/tables.sh mini-kmeans DATA OUT [OPTIONS of the stages]
#       what figures 1 and 2 show, of the self-supervised encoder of the package on the same data: OUT/mini-kmeans
#   runs/tables.sh whisper-tiny DATA OUT [OPTIONS of the stages]
#       that and the endpoint, of the encoder of a Whisper (ENCODER, a hub id or a folder; default openai/whisper-tiny.en)
#   runs/tables.sh articulation DATA OUT [OPTIONS of phonemi table]
#       the table of inversion on rendered speech of known articulation, half an hour of it (UTTERANCES, default 800)
#   runs/tables.sh synthetic - OUT [OPTIONS of phonemi table]
#       the same on synthetic speech, which is made here
# TABLES (default "1 2"; also "bsse feature-norm") and FIGURES (default "1a 1b 1c 2 3") choose, except of mini-kmeans and whisper-tiny.
set -euo pipefail
usage="usage: runs/tables.sh paper|mini|mini-kmeans|whisper-tiny|articulation|synthetic DATA OUT [OPTIONS]"
scale=${1:?$usage}
data=${2:?$usage}
out=${3:?$usage}
shift 3
here=$(cd "$(dirname "$0")/.." && pwd)
phonemi=${PHONEMI:-$here/.venv/bin/phonemi}
[ -x "$phonemi" ] || phonemi=phonemi
mkdir -p "$out"

manifest() { # NAME CORPUS FOLDER OPTIONS...: prepared once
    local name=$1 corpus=$2 folder=$3
    shift 3
    [ -f "$out/$name.jsonl" ] || "$phonemi" prepare "$corpus" "$folder" "$@" -o "$out/$name.jsonl"
}

case $scale in
paper)
    libri=$data/librispeech
    for subset in dev-clean test-clean train-clean-100; do
        manifest "librispeech-$subset" librispeech "$libri" --download --subset "$subset" \
            --alignments "$libri/alignments"
    done
    manifest esc50 esc50 "$data/esc50" --download
    manifest musan-noise musan "$data/musan" --download
    for split in train validation test; do
        manifest "voicebank-demand-$split" voicebank-demand "$data/voicebank-demand" --download --split "$split"
    done
    set -- --scale paper --manifests "$out" "$@"
    ;;
mini | mini-kmeans | whisper-tiny)
    manifest speech librispeech "$data/librispeech/LibriSpeech" --alignments "$data/librispeech/alignments/phones.ctm"
    manifest noise esc50 "$data/esc10"
    # Three speakers carry most of the LibriSpeech minutes of that collection: they stay in training. Claims about a row
    # are tested over its models: three of each, eight of the two rows that the endpoint is about.
    set -- --set "data.keep_in_training=[ls-19, ls-26, ls-27]" --set enhance.seeds=3 "$@"
    if [ "$scale" != mini ]; then
        name=$scale rows="[ws-acoustic, ws-linguistic]" endpoint=(--set evaluate.endpoint=null)
        if [ "$scale" = whisper-tiny ]; then
            name=${ENCODER:-openai/whisper-tiny.en} rows="[ws-acoustic+log1p, ws-linguistic+log1p]" endpoint=(--set "enhance.seeds_of={ws-acoustic+log1p: 8, ws-linguistic+log1p: 8}")
        fi
        set -- --run "$out/$scale" --config mini --set "representation='$name'" --set information.seeds=3 \
            --set "data.speech=['$out/speech.jsonl']" --set "data.noise=['$out/noise.jsonl']" \
            --set "enhance.rows=$rows" --set "aggregate.aggregations=[ws]" "${endpoint[@]}" "$@"
        for stage in information aggregate train evaluate; do
            "$phonemi" "$stage" "$@"
        done
        "$phonemi" report "$out/$scale"
        exit
    fi
    set -- --scale mini --manifests "$out" \
        --set "enhance.seeds_of={ws-acoustic+log1p: 8, ws-linguistic+log1p: 8}" "$@"
    ;;
articulation)
    manifest speech articulatory-synthesis "$out/vocal-tract" --utterances "${UTTERANCES:-800}"
    manifest noise esc50 "$data/esc10"
    set -- --scale mini --manifests "$out" --set data.babble_share=0.5 --set enhance.seeds=3 "$@"
    TABLES=inversion FIGURES=
    ;;
synthetic)
    # A fraction of the work of real speech: it shows that everything runs, and voices of one synthesiser say no more.
    set -- --scale mini --set information.train_utterances=120 --set information.test_utterances=24 \
        --set aggregate.steps=500 --set enhance.steps=200 --set enhance.train_mixtures=600 \
        --set enhance.validate_every=100 --set enhance.validation_mixtures=20 --set evaluate.utterances=24 \
        --set evaluate.recogniser=pocketsphinx-grammar "$@"
    ;;
*) echo "$usage" >&2 && exit 2 ;;
esac
for number in ${TABLES-1 2}; do
    "$phonemi" table "$number" --out "$out" "$@"
done
for number in ${FIGURES-1a 1b 1c 2 3}; do
    "$phonemi" figure "$number" "$out" --out "$out/figures"
done
