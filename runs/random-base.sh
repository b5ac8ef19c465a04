#!/usr/bin/env bash
# Both tables with fine-tuned encoders for two updates, with encoders of Base size and random weights: that all families
# load, train, are saved and analysed, in how much memory, without a download. The numbers mean nothing, so that short
# recordings are enough, and only the tables are kept. TABLES (default "bsse feature-norm") chooses.
#   runs/random-base.sh DATA OUT [FAMILY ...]          DATA as for `runs/tables.sh mini`
# Families: wavlm hubert wav2vec2 and, for the second table alone, tera mockingjay, whose frames BSSE's network does not take.
set -euo pipefail
usage="usage: runs/random-base.sh DATA OUT [FAMILY ...]"
data=${1:?$usage}
out=${2:?$usage}
shift 2
families=("$@")
[ $# -gt 0 ] || families=(wavlm hubert wav2vec2 tera mockingjay)
here=$(cd "$(dirname "$0")/.." && pwd)
phonemi=${PHONEMI:-$here/.venv/bin/phonemi}
python=${PYTHON:-$here/.venv/bin/python}
mkdir -p "$out"
[ -f "$out/all.jsonl" ] || "$phonemi" prepare librispeech "$data/librispeech/LibriSpeech" \
    --alignments "$data/librispeech/alignments/phones.ctm" -o "$out/all.jsonl"
[ -f "$out/speech.jsonl" ] || "$python" - "$out/all.jsonl" "$out/speech.jsonl" <<'PYTHON'
import sys
from phonemi.data.manifest import read_manifest, write_manifest

write_manifest(sys.argv[2], [recording for recording in read_manifest(sys.argv[1]) if recording.duration_s < 5])
PYTHON
[ -f "$out/noise.jsonl" ] || "$phonemi" prepare esc50 "$data/esc10" -o "$out/noise.jsonl"
few=(data.validation_share=0.005 enhance.batch=2 information.train_utterances=4 information.test_utterances=2 information.copies=1 information.epochs=1
    "information.snrs_db=[0, 10]" enhance.train_mixtures=8 enhance.validation_mixtures=2 enhance.steps=2
    enhance.validate_every=2 enhance.jobs=1 enhance.recompute_blocks=true enhance.reference_utterances=4 evaluate.utterances=2 "evaluate.snrs_db=[5]"
    evaluate.recogniser=none evaluate.examples=1)
measured=()
[ ! -x /usr/bin/time ] || measured=(/usr/bin/time -f "peak %M kB, %e s")
options=()
for setting in "${few[@]}"; do options+=(--set "$setting"); done
for family in "${families[@]}"; do
    encoder=$out/encoders/$family # by whose name the tables know its depth
    [ -f "$encoder/config.json" ] || "$python" - "$family" "$encoder" <<'PYTHON'
import sys
import torch
from transformers import AutoConfig, AutoModel

from phonemi.representations.tera import Tera, TeraConfig

torch.manual_seed(0)
family, folder = sys.argv[1:]
if family in ("tera", "mockingjay"):
    Tera(TeraConfig(blocks=3 if family == "tera" else 12)).save(folder)
else:
    AutoModel.from_config(AutoConfig.for_model(family)).save_pretrained(folder)
PYTHON
    for table in ${TABLES-bsse feature-norm}; do
        [[ $table != bsse || ( $family != tera && $family != mockingjay ) ]] || continue
        echo "$family, table $table:"
        "${measured[@]}" "$phonemi" table $table --out "$out" --scale mini --manifests "$out" \
            --encoder "$encoder" "${options[@]}" >"$out/$table-$family.md"
        rm -r "${out:?}/$table/$family" # 13 GB of models and checkpoints
    done
done
